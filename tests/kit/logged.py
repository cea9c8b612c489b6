"""What a logger is told, past the handler of pytest: that is one of the root's, and commands that run here limit it."""

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["Log", "logged"]


class Log(logging.Handler):
    """Keeps records.

    Attributes:
        records: What was logged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@contextlib.contextmanager
def logged(name: str) -> Iterator[Log]:
    """Keep what a logger, or one below it, is told inside the block, from INFO on."""
    logger, log = logging.getLogger(name), Log()
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        yield log
    finally:
        logger.setLevel(level)
        logger.removeHandler(log)
