"""What the variables of a function hold before a loop in it, and after one step: seen in one run of the module."""

import dataclasses
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["Observed", "observe"]


@dataclasses.dataclass(frozen=True)
class Observed:
    """What is seen when a function comes to a loop.

    Attributes:
        before: Local variables when it comes there, lists and dicts copied.
        after: Those after one step; as before where there is one step only.
        steps: Number of steps.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    steps: int

    def is_tensor(self, name: str) -> bool:
        """Whether a variable holds a tensor after a step, or before it."""
        return isinstance(self.after.get(name, self.before.get(name)), Tensor)

    def holds_tensors(self, name: str) -> bool:
        """Whether a variable holds a tensor, or a list or dict of what may be tensors."""
        return self.is_tensor(name) or isinstance(self.after.get(name, self.before.get(name)), list | dict | tuple)

    def is_number(self, name: str) -> bool:
        """Whether a variable holds a number before the loop."""
        return isinstance(self.before.get(name), bool | int | float)


def observe(code: types.CodeType, line: int, run: Callable[[], Any]) -> Observed | None:
    """Run a module, and note the variables of a function each time that it comes to a line.

    Args:
        code: Code of the function.
        line: Line of the loop.
        run: Function that calls the module.

    Returns:
        What the first run of the loop has shown; None if the line is not reached, or the module fails before.
    """
    seen: list[dict[str, Any]] = []

    def trace(frame: types.FrameType, event: str, argument: object) -> Any:  # noqa: ANN401 - as sys.settrace has it
        del event, argument
        return lines if frame.f_code is code and not seen else None

    def lines(frame: types.FrameType, event: str, argument: object) -> Any:  # noqa: ANN401
        del argument
        # A loop that a break ends in its first step does not come to its line again.
        if (event == "line" and frame.f_lineno == line) or (event == "return" and len(seen) == 1):
            seen.append({name: _copied(value) for name, value in frame.f_locals.items()})
        return lines

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except Exception:  # noqa: BLE001 - the module's own, whatever it is: there is nothing to show of it
        return None
    finally:
        sys.settrace(before)
    return Observed(seen[0], seen[min(1, len(seen) - 1)], len(seen) - 1) if seen else None


def _copied(value: Any) -> Any:  # noqa: ANN401
    return value.copy() if type(value) in (list, dict) else value
