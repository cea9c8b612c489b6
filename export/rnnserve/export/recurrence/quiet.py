"""What the exporter says while it works, to nobody who could act on it, kept from users and from `-W error`."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

__all__ = ["quiet"]

# torch.onnx: torchvision is not installed, deprecations inside of torch; onnxscript: what it did not fold.
_LOGGERS = ("torch.onnx._internal.exporter", "onnxscript", "onnx_ir")


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
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
