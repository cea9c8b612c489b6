"""Golden cases with inputs left out, of models whose own defaults are recorded: servers replay them, too."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.golden_cases import GoldenCases
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.reference import Reference
from rnnserve.export.rounding import Rounding
from rnnserve.export.tensor_shapes import sizes_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.golden import Case, Inference
from rnnserve.protos.recorded_defaults import fill_left_out

__all__ = ["filling", "with_left_out"]

_CASES = 2  # of each kind


def filling(model: ModelDescription, compute: Inference) -> Inference:
    """Compute as a server does: an input that is not given is what the model's description says."""

    def filled(inputs: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        return compute(_filled(model, inputs))

    return filled


def with_left_out(
    golden: GoldenCases, model: ModelDescription, reference: Reference, compute: Inference
) -> GoldenCases:
    """Add cases without the inputs whose defaults are recorded: eager's results are those of the forward without them.

    Args:
        golden: Cases with every input.
        model: What is published.
        reference: Its module, in evaluation mode.
        compute: Its ONNX model.
    """
    own = {
        tensor.name
        for tensor in model.inputs
        if tensor.default == manifest_pb2.DEFAULT_RECORDED or tensor.left_out_with
    }
    parameters = [name if isinstance(name, tuple) else (name,) for name in reference.interface.defaults]
    names = {name for tensors in parameters if own.intersection(tensors) for name in tensors}
    if not names:
        return golden
    rounding = Rounding(model, reference, compute, np.random.default_rng(0))
    furthest = {"step": golden.step, "sequence": golden.sequence}
    cases = list(golden.cases)
    for kind in ("step", "random"):
        for case in [case for case in golden.cases if case.kind == kind][:_CASES]:
            inputs = {name: array for name, array in case.inputs.items() if name not in names}
            if not inputs:  # nothing would say how many rows there are
                continue
            filled = _filled(model, inputs)
            of = "step" if kind == "step" else "sequence"
            furthest[of] = max(furthest[of], float(rounding.distances(filled, with_model=False).max()))
            cases.append(Case(kind, inputs, eager=reference.eager(inputs), float64=reference.exact(filled)))
    return dataclasses.replace(golden, cases=cases, step=furthest["step"], sequence=furthest["sequence"])


def _filled(model: ModelDescription, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    return fill_left_out(model.inputs, inputs, model.defaults, sizes_of(model.inputs, inputs))
