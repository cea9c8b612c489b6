"""What a logger is told, past the handler of pytest: that is one of the root's, and commands that run here limit it."""

import contextlib
import logging
from collections.abc import Iterator


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
def logged(name: str, level: int = logging.INFO) -> Iterator[Log]:
    """Keep what a logger, or one below it, logs inside the block, from a level on."""
    logger, log = logging.getLogger(name), Log()
    log.setLevel(level)
    before = logger.level
    logger.addHandler(log)
    if not logger.isEnabledFor(level):
        logger.setLevel(level)
    try:
        yield log
    finally:
        logger.setLevel(before)
        logger.removeHandler(log)
