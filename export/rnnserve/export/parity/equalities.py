"""What the tutorial teaches, held against eager and ONNX: composition by hand, final states, parts, padding."""

from collections.abc import Callable, Mapping

import numpy as np

from rnnserve.export.classifier_tensors import outputs_of
from rnnserve.export.limits import Limits
from rnnserve.export.parity.compose import compose
from rnnserve.export.parity.distances import Distances
from rnnserve.export.parity.draws import random_inputs
from rnnserve.export.parity.failures import Failures
from rnnserve.export.parity.reference import Reference
from rnnserve.export.parity.runner import Arrays, Runner
from rnnserve.protos.differences import scale

__all__ = ["check_equalities"]

_BATCH, _LENGTH = 64, 12  # even, so that a row's bits do not depend on its neighbours
_GARBAGE = 1e4

_Run = Callable[[Arrays], Arrays]


def check_equalities(
    reference: Reference, runner: Runner | None, limits: Limits, failures: Failures, seed: int
) -> list[str]:
    """Check the tutorial's equalities, in float64, in eager and, given a runner, in ONNX.

    Two computations of one thing agree to the last digits in float64; the float32 ones agree with it as far as eager
    does. Where no arithmetic differs, the very bits agree.

    Returns:
        What was compared, a line each.
    """
    architecture = reference.classifier.architecture
    random = np.random.default_rng([seed, 1])
    ragged = random_inputs(architecture, random, _BATCH, _LENGTH, ragged=True)
    full = random_inputs(architecture, random, _BATCH, _LENGTH)
    sides: dict[str, _Run] = {"eager": reference.eager}
    if runner is not None:
        sides["onnx"] = runner
    judge = _Judge(reference, limits, failures)
    checks = []

    judge.exact("composed by hand", reference.exact(ragged), compose(reference.double, ragged))
    for side, run in sides.items():
        judge.rounded(side, "composed by hand", ragged, run(ragged), compose(reference.double, ragged))
    checks.append("tutorial: cells in a loop, layers stacked and directions composed by hand give the same")

    for side, run in sides.items():
        _final_states(failures, side, architecture.directions, ragged, run(ragged))
    checks.append("tutorial: h_n is output at each row's last point, or backwards at its first: bit for bit")

    if not architecture.bidirectional:
        whole = reference.exact(full)
        carried = {state.name: state.continues_as for state in outputs_of(architecture) if state.continues_as}
        judge.exact("in two parts", _in_two(reference.exact, full, carried), whole)
        for side, run in sides.items():
            judge.rounded(side, "in two parts", full, _in_two(run, full, carried), whole)
        checks.append("tutorial: a sequence in two parts, states carried over, gives the same as the whole")

    for side, run in sides.items():
        _padding(failures, side, run, ragged)
    checks.append("tutorial: what lies behind a row's length changes nothing, bit for bit")
    return checks


class _Judge:
    """Compares with the truth in float64: float64 itself to the last digits, float32 as far as eager comes."""

    def __init__(self, reference: Reference, limits: Limits, failures: Failures) -> None:
        self._reference = reference
        self._limits = limits
        self._failures = failures

    def exact(self, what: str, found: Arrays, truth: Arrays) -> None:
        for name, expected in truth.items():
            limit = self._limits.double * scale(expected)
            self._failures.near(f"float64, {what}", name, found[name], expected, limit, "the tutorial's batch")

    def rounded(self, side: str, what: str, inputs: Arrays, found: Arrays, truth: Arrays) -> None:
        """Judge the root mean square distance from the truth by that of eager's own, over one batch."""
        distances = Distances()
        eager = self._reference.eager(inputs)
        for name, expected in truth.items():
            if name not in found or found[name].shape != expected.shape:  # which other rungs have said
                continue
            distances.add(what, name, inputs["lengths"], found=found[name], eager=eager[name], exact=expected)
        if any(row.failure(self._limits) for row in distances.rows.values()) and not len(self._failures):
            for outputs in self._reference.moved(inputs):  # as for whole sequences, see `Values.judge`
                for _, name, _ in distances.rows:
                    moved, exact = outputs[name], truth[name]
                    distances.add_moved(what, name, inputs["lengths"], moved=moved, exact=exact)
        for (_, name, _), row in distances.rows.items():
            failure = row.failure(self._limits)
            if failure:
                self._failures.add(f'{side}, {what}: "{name}" {failure}')


def _final_states(failures: Failures, side: str, directions: int, inputs: Arrays, found: Arrays) -> None:
    """The last layer's `h_n` stands in `output`: forwards at the row's last point, backwards at its first."""
    if not {"output", "h_n"} <= found.keys() or found["output"].ndim != 3 or found["h_n"].ndim != 3:
        return
    output, hidden = found["output"], found["h_n"].shape[2]
    rows = np.arange(output.shape[0])
    ends = [output[rows, inputs["lengths"] - 1, :hidden], output[:, 0, hidden:]][:directions]
    final = np.stack(ends)
    if failures.form(f"{side}, final states", "h_n", found["h_n"][-directions:], final, "the tutorial's batch"):
        failures.near(f"{side}, final states", "h_n", found["h_n"][-directions:], final, 0.0, "the tutorial's batch")


def _padding(failures: Failures, side: str, run: _Run, inputs: Arrays) -> None:
    """Zeros and large numbers behind each row's length give the same bits."""
    behind = np.arange(_LENGTH) >= inputs["lengths"][:, None]
    fillings = [
        inputs | {"input": np.where(behind[..., None], np.float32(filling), inputs["input"])}
        for filling in (0.0, _GARBAGE)
    ]
    zeros, garbage = (run(filling) for filling in fillings)
    for name, expected in zeros.items():
        failures.near(f"{side}, padding", name, garbage[name], expected, 0.0, "the tutorial's batch")


def _in_two(run: _Run, inputs: Arrays, carried: Mapping[str, str]) -> Arrays:
    """Run the first part of full sequences, then the rest from the states it left; give what the whole would.

    `carried` says which output is which input of the next part: {"h_n": "h_0", …}.
    """
    cut = _LENGTH // 3
    first = run(_part(inputs, slice(None, cut), {initial: inputs[initial] for initial in carried.values()}))
    states = {initial: first.get(final, inputs[initial]) for final, initial in carried.items()}
    second = run(_part(inputs, slice(cut, None), states))
    if {"output"} <= first.keys() & second.keys():
        second["output"] = np.concatenate([first["output"], second["output"]], axis=1)
    return second


def _part(inputs: Arrays, steps: slice, states: Arrays) -> Arrays:
    points = np.ascontiguousarray(inputs["input"][:, steps])
    return {"input": points, "lengths": np.full(len(points), points.shape[1], dtype=np.int64)} | states
