"""Warnings and log messages of the exporter that users cannot act on."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

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
    """Suppress deprecation warnings and log messages of torch's exporter, also under `-W error`; errors still raise."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
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
