"""What the exporter says while it works, to nobody who could act on it, kept from users and from `-W error`."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

__all__ = ["quiet"]

# torchvision is not installed; what was not folded; and, with whole graphs, why a module cannot be captured, which the
# exception says too.
_LOGGERS = (
    "torch.onnx._internal.exporter",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
    "onnxscript",
    "onnx_ir",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back deprecations within torch's exporter and its running commentary; errors still come through."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", category)
        # Told of every attribute that a forward writes; `memory` tells the harmless ones from the others.
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export", UserWarning)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
