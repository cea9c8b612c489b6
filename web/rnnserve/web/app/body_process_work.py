"""What runs in the process that reads large bodies (`large_bodies`).

A request is a task, pickled, and the next one the body that it is for, as it is: the answer is what the function gives,
or the RestError that it raises.
"""

import gc
import pickle
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from rnnserve.common.allocation import give_back_free_memory, give_back_large_blocks
from rnnserve.common.guarded_work import answer_requests, limit_memory
from rnnserve.web.errors import RestError

__all__ = ["TOO_MUCH_MEMORY", "ReadingTask"]

TOO_MUCH_MEMORY: Final = "too much memory"
"""Answer where the limit was not enough. No function gives a text."""


class ReadingTask(NamedTuple):
    """How a body is read.

    Attributes:
        function: Function of a module; its first argument is the body.
        args: Its further arguments.
        kwargs: Its arguments by name.
        memory: Bytes that it may take, beside those of the body.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    memory: int


class _Work:
    def __init__(self) -> None:
        self._task: ReadingTask | None = None

    def answer(self, request: bytes) -> bytes:
        task, self._task = self._task, None
        if task is None:
            self._task = pickle.loads(request)  # noqa: S301 - from the process that has started this one
            return b""
        give_back_free_memory()  # of the one before
        limit_memory(task.memory)
        try:
            return pickle.dumps(task.function(request, *task.args, **task.kwargs))
        except RestError as error:
            return pickle.dumps(error)  # here, since a variable beside would make a cycle of it and of all it has seen
        except MemoryError:
            return pickle.dumps(TOO_MUCH_MEMORY)


if __name__ == "__main__":
    give_back_large_blocks()
    gc.disable()  # no list of JSON is part of a cycle, and to look for one takes twice as long as to read it
    answer_requests(_Work().answer)
