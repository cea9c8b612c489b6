"""Warnings and log messages of the exporter that users cannot act on."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import torch.export._trace

__all__ = ["without_exporter_messages"]

# They report that torchvision is not installed, what was not folded and, with whole graphs, why a module cannot be
# captured, which the exception says as well.
_LOGGERS = (
    "torch.onnx._internal.exporter",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
    "onnxscript",
    "onnx_ir",
)


@contextlib.contextmanager
def without_exporter_messages() -> Iterator[None]:
    """Suppress deprecation warnings and messages of torch's exporter, also under `-W error`; errors still raise.

    Where a capture fails, torch.export prints the graph so far: 90 lines before the error that says what to change.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), _without_printed_graphs():
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", category)
        # torch warns of every attribute that a forward writes; `carried_state` refuses those that matter.
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export", UserWarning)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _without_printed_graphs() -> Iterator[None]:
    """Let `print` of torch.export's module of captures print nothing: it has no other use there, and no switch."""
    names = vars(torch.export._trace)  # noqa: SLF001
    names["print"] = lambda *_, **__: None
    try:
        yield
    finally:
        del names["print"]
