"""The tutorial's equalities, checked in eager and ONNX: composition from cells, final states, parts, padding."""

from collections.abc import Callable, Mapping

import numpy as np

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.held_modules import users_module
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.cell_by_cell import compute_cell_by_cell
from rnnserve.export.parity.distances import Distances
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.onnx_runner import OnnxRunner
from rnnserve.export.parity.reference import Reference
from rnnserve.export.parity.tolerances import ParityLimits
from rnnserve.models import DirectionClassifier
from rnnserve.protos.differences import scale
from rnnserve.protos.protocol_words import BATCH

__all__ = ["check_tutorial_equalities"]

_BATCH, _LENGTH = 64, 12  # an even batch, so that a row's bits do not depend on its neighbours
_LARGE = 1e4
_WHERE = "the tutorial's batch"

_Compute = Callable[[Arrays], Arrays]


def check_tutorial_equalities(
    model: DescribedModel,
    reference: Reference,
    runner: OnnxRunner | None,
    limits: ParityLimits,
    failures: FailureCollector,
    seed: int,
) -> list[str]:
    """Check the tutorial's equalities in float64, in eager and, given a runner, in ONNX.

    Two computations of one result agree to the last digits in float64. The float32 ones agree with it as far as eager
    does. Where the arithmetic is the same, the bits are equal.

    Args:
        model: A direction classifier.
        reference: Module of the model.
        runner: ONNX model; None if it does not run.
        limits: Limits for the device "cpu".
        failures: Collector to which differences are added.
        seed: Seed of the inputs.

    Returns:
        What was compared, a line each; the lines are part of every manifest.
    """
    classifier, double = (None if each is None else users_module(each) for each in (reference.module, reference.double))
    if not isinstance(classifier, DirectionClassifier) or not isinstance(double, DirectionClassifier):
        raise TypeError(
            f"the tutorial's equalities are those of a DirectionClassifier, not of a {type(classifier).__name__}"
        )
    architecture = classifier.architecture
    random = np.random.default_rng([seed, 1])
    sizes = {BATCH: _BATCH, "sequence": _LENGTH}
    ragged = draw_inputs(model.inputs, random, sizes, ragged=True)
    full = draw_inputs(model.inputs, random, sizes)
    sides: dict[str, _Compute] = {"eager": reference.eager}
    if runner is not None:
        sides["onnx"] = runner
    comparison = _Float64Comparison(reference, limits, failures)
    checks = []

    composed = compute_cell_by_cell(double, ragged)
    comparison.compare_float64("composed by hand", reference.exact(ragged), composed)
    for side, compute in sides.items():
        comparison.compare_float32(side, "composed by hand", ragged, compute(ragged), composed)
    checks.append("tutorial: cells in a loop, layers stacked and directions composed by hand give the same")

    for side, compute in sides.items():
        _check_final_states(failures, side, architecture.directions, ragged, compute(ragged))
    checks.append("tutorial: h_n is output at each row's last point, or backwards at its first: bit for bit")

    if not architecture.bidirectional:
        whole = reference.exact(full)
        carried = {state.name: state.continues_as for state in model.outputs if state.continues_as}
        comparison.compare_float64("in two parts", _in_two_parts(reference.exact, full, carried), whole)
        for side, compute in sides.items():
            comparison.compare_float32(side, "in two parts", full, _in_two_parts(compute, full, carried), whole)
        checks.append("tutorial: a sequence in two parts, states carried over, gives the same as the whole")

    for side, compute in sides.items():
        _check_padding(failures, side, compute, ragged)
    checks.append("tutorial: values after a row's length change nothing, bit for bit")
    return checks


class _Float64Comparison:
    """Compares results with those in float64: float64 itself to the last digits, float32 as far as eager agrees."""

    def __init__(self, reference: Reference, limits: ParityLimits, failures: FailureCollector) -> None:
        self._reference = reference
        self._limits = limits
        self._failures = failures

    def compare_float64(self, what: str, found: Arrays, exact: Arrays) -> None:
        """Compare two computations in float64."""
        for name, expected in exact.items():
            limit = self._limits.double * scale(expected)
            self._failures.compare_values(f"float64, {what}", name, found[name], expected, limit, _WHERE)

    def compare_float32(self, side: str, what: str, inputs: Arrays, found: Arrays, exact: Arrays) -> None:
        """Judge the root mean square distance from float64 by eager's own, over one batch."""
        distances = Distances()
        eager = self._reference.eager(inputs)
        for name, expected in exact.items():
            if name not in found or found[name].shape != expected.shape:  # other checks report it
                continue
            distances.add(what, name, _LENGTH, found=found[name], eager=eager[name], exact=expected)
        if any(row.failure(self._limits) for row in distances.rows.values()) and not len(self._failures):
            for outputs in self._reference.moved(inputs):  # as for whole sequences, see `ValueComparison.judge`
                for _, name, _ in distances.rows:
                    distances.add_moved(what, name, _LENGTH, moved=outputs[name], exact=exact[name])
        for (_, name, _), row in distances.rows.items():
            failure = row.failure(self._limits)
            if failure:
                self._failures.add(f'{side}, {what}: "{name}" {failure}')


def _check_final_states(failures: FailureCollector, side: str, directions: int, inputs: Arrays, found: Arrays) -> None:
    """Check that the last layer's `h_n` is in `output`: forwards at a row's last point, backwards at its first."""
    if not {"output", "h_n"} <= found.keys() or found["output"].ndim != 3 or found["h_n"].ndim != 3:
        return
    output, hidden = found["output"], found["h_n"].shape[2]  # output (batch, sequence, directions * hidden)
    rows = np.arange(output.shape[0])
    ends = [output[rows, inputs["lengths"] - 1, :hidden], output[:, 0, hidden:]][:directions]
    expected = np.stack(ends)  # (directions, batch, hidden)
    last = found["h_n"][-directions:]
    if failures.compare_forms(f"{side}, final states", "h_n", last, expected, _WHERE):
        failures.compare_values(f"{side}, final states", "h_n", last, expected, 0.0, _WHERE)


def _check_padding(failures: FailureCollector, side: str, compute: _Compute, inputs: Arrays) -> None:
    """Check that zeros and large numbers after each row's length give the same bits."""
    padding = np.arange(_LENGTH) >= inputs["lengths"][:, None]  # (batch, sequence)
    zeros, large = (
        compute(inputs | {"input": np.where(padding[..., None], np.float32(value), inputs["input"])})
        for value in (0.0, _LARGE)
    )
    for name, expected in zeros.items():
        failures.compare_values(f"{side}, padding", name, large[name], expected, 0.0, _WHERE)


def _in_two_parts(compute: _Compute, inputs: Arrays, carried: Mapping[str, str]) -> Arrays:
    """Compute full sequences in two parts, the second from the states after the first.

    Args:
        compute: Function that gives outputs by name.
        inputs: Arrays by name; every row is as long as the sequence axis.
        carried: Outputs that become inputs of the second part: {"h_n": "h_0", …}.

    Returns:
        The outputs for the whole sequences, by name.
    """
    cut = _LENGTH // 3
    first = compute(_part(inputs, slice(None, cut), {initial: inputs[initial] for initial in carried.values()}))
    states = {initial: first.get(final, inputs[initial]) for final, initial in carried.items()}
    second = compute(_part(inputs, slice(cut, None), states))
    if {"output"} <= first.keys() & second.keys():
        second["output"] = np.concatenate([first["output"], second["output"]], axis=1)
    return second


def _part(inputs: Arrays, steps: slice, states: Arrays) -> Arrays:
    points = np.ascontiguousarray(inputs["input"][:, steps])  # (batch, part of the sequence, features)
    return {"input": points, "lengths": np.full(len(points), points.shape[1], dtype=np.int64)} | states
