"""One loop over steps while it is captured: its body runs a few times, and becomes the step of one scan.

The rewritten function (`rewriting`) runs the body as long as `again` says so::

    while loop.again(locals()):
        h = loop.take("h")  # and every other variable that the body uses
        x_t = loop.element()
        ...                 # the body
    h = loop.take("h")

The first run finds what the body changes (`memory`) and which sequences it reads at the number of the step. In the runs
after it, what is changed has the values of a step of the scan, until no more is found. The last run repeats the one
before it, and has to compute the same. Where the first step takes another path than those after it, or has no state
before it, it is run apart, with its own values; the scan then has one step before its first whose results are left out,
since onnxruntime's Scan takes no sequence without a step.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor, nn

from rnnserve.export.outer_variables import OuterVariable
from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.loop_state import LoopState
from rnnserve.export.recurrence.loops.memory import Memory
from rnnserve.export.recurrence.loops.refused import LoopRefused, Site
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_pass import StepPass, passes
from rnnserve.export.recurrence.loops.steps import Steps
from rnnserve.export.recurrence.loops.symbolic_sizes import Size, at_least_one
from rnnserve.export.recurrence.operation_recorder import OperationRecorder
from rnnserve.export.recurrence.scan_markers import MARKER

__all__ = ["CapturedLoop"]

_RUNS = 8  # each finds more of what is carried; more than four have not been seen


class CapturedLoop:
    """A loop in the module that is being captured.

    Args:
        steps: Steps that it runs over.
        site: Place of it in the user's code, and the variables that its body uses.
        modules: Modules of the exported one, by name: a body may change their attributes.
        outer: Variables outside of it, whose lists, dicts and objects a body may change.

    Attributes:
        count: Number of steps.
        first: Number of the first step of the scan: 1 where the first step is run apart.
    """

    def __init__(
        self, steps: Steps, site: Site, modules: Mapping[str, nn.Module], outer: Sequence[OuterVariable] = ()
    ) -> None:
        self.count: Size = steps.count
        self.first = 0
        self._steps, self._site, self._modules, self._outer = steps, site, modules, outer
        self._variables: dict[str, Any] = {}
        self._position: Any = 0
        self._state = LoopState(self, site)
        self._pass = StepPass(self, {})
        self._has_ended = False
        self._runs = self._run()

    @property
    def skips(self) -> bool:
        """Whether the scan has a step before the first one, whose results are left out."""
        return bool(self.first) or not at_least_one(self.count)

    @property
    def lowest(self) -> int:
        """Number of the first step of the scan, that one included."""
        return self.first - 1 if self.skips else self.first

    # What the rewritten function calls.

    def again(self, variables: Mapping[str, Any]) -> bool:
        """Say whether the body is to run again.

        Args:
            variables: The function's local variables now.
        """
        self._variables = dict(variables)
        return next(self._runs)

    def close(self) -> None:
        """Leave what a run has entered that an exception has ended."""
        self._runs.close()
        if self._pass in passes.stack:
            passes.stack.remove(self._pass)

    def gives(self, name: str) -> bool:
        """Whether a variable has a value before the body, or after the loop."""
        return name in self._state.values

    def take(self, name: str) -> Argument:
        """Give the value of a variable."""
        return self._state.values[name]

    def element(self) -> Argument:
        """Give what the loop's target is in this run."""
        return self._steps.item(self._position)

    def leaves(self, how: str, line: int) -> NoReturn:
        """Refuse a body that leaves the loop."""
        self.refuse(
            f"line {line} leaves it with `{how}`, so that the number of its steps depends on what they compute. Run "
            "all steps, and choose with torch.where."
        )

    # What numbers of steps call.

    def refuse(self, reason: str) -> NoReturn:
        """Refuse the loop."""
        raise LoopRefused(self._site, reason)

    def run_first_step_apart(self) -> None:
        """Say that the first step takes another path than those after it."""
        self._state.apart = True

    def step_tensor(self) -> Tensor:
        """Give the number of the step, (), int64."""
        self._check_running()
        return self._state.sequences.number()

    def step_of(self, tensor: Tensor, dim: int, index: StepIndex) -> Tensor:
        """Give one step of a tensor along an axis."""
        self._check_running()
        if not self._pass.is_outside(tensor):
            return tensor.index_select(dim, index.tensor().reshape(1)).squeeze(dim)
        self._pass.read([tensor])
        return self._state.sequences.step(tensor, dim, index)

    def _check_running(self) -> None:
        if self._has_ended:
            self.refuse(
                "the number of its step is used after it, where only some of the variables that hold it are known. Use "
                "the size instead: x.size(1) - 1 is the number of the last step."
            )

    # The runs.

    def _run(self) -> Generator[bool, None, None]:
        while True:
            memory = Memory(self._variables, self._modules, self._site, self._outer)
            recorder, apart = yield from self._find(memory)
            memory.restore()
            if not apart:
                break
            yield from self._run_apart(memory, apart)
        before = [each.get() for each in self._outer]
        with OperationRecorder(MARKER) as again:
            self._open(memory)
            yield True
            self._close(memory)
        if recorder.operations != again.operations:
            changed = [each for each, was in zip(self._outer, before, strict=True) if each.get() is not was]
            if changed:
                self.refuse(
                    f"a step sets {' and '.join(each.label for each in changed)}, and the next one reads it. Make it a "
                    "variable of this function, h = …, that is set before the loop."
                )
            self.refuse(
                "a step computes something else when it is run again: its Python code counts calls, or keeps something "
                "that is no variable. Make what changes a variable that is set before the loop."
            )
        self._state.end(memory, self._variables, self._pass)
        self._has_ended = True
        yield False

    def _find(self, memory: Memory) -> Generator[bool, None, tuple[OperationRecorder, str]]:
        """Run the body until no more is found; give the last record, and why the first step is to be run apart."""
        for _ in range(_RUNS):
            begun = self._state.begin()
            with OperationRecorder(MARKER) as recorder:
                self._open(memory)
                yield True
                self._close(memory)
            found, apart = self._state.compare(memory, self._variables, self._pass)
            if apart or (begun and not found):
                return recorder, apart
            memory.restore()
        self.refuse("what it carries from step to step changes with each run of its body")

    def _run_apart(self, memory: Memory, reason: str) -> Iterator[bool]:
        """Run the first step with its own values."""
        if self.first:
            self.refuse(reason)
        if not at_least_one(self.count):
            self.refuse(
                f"{reason}, and it may have no step at all. Give what it carries the structure, the shape and the "
                "dtype before the first step that it has after each step."
            )
        self._state.put_back(memory)
        self._position = 0
        yield True
        self.first = 1
        self._state = LoopState(self, self._site)

    def _open(self, memory: Memory) -> None:
        """Begin a run: put the state of a step in its places."""
        self._position = StepIndex(self, 1, 0)
        self._pass = StepPass(self, self._state.whole)
        passes.stack.append(self._pass)
        self._state.put(memory, self._pass)

    def _close(self, memory: Memory) -> None:
        """End a run."""
        memory.leave_lists()
        self._pass.finish()
        passes.stack.pop()
        if self._pass.views_written:
            self.refuse(
                "a step writes to a part of a tensor that it has not made, as x_t += 1 does where x_t is a step of x, "
                "and y[:, t].copy_(h). Write x_t = x_t + 1, and y[:, t] = h."
            )
