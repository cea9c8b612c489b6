"""The golden cases of a module, proven: beside those with every input, some without what has a recorded default."""

import dataclasses

import numpy as np

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.errors import ExportError
from rnnserve.export.golden_cases import GoldenCases, make_cases
from rnnserve.export.parity import OnnxRunner, Reference
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.rounding import Rounding
from rnnserve.export.tensor_shapes import sizes_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL
from rnnserve.protos.golden import Case, Inference
from rnnserve.protos.recorded_defaults import fill_left_out

__all__ = ["prove_cases"]

_CASES = 2  # of each kind


def prove_cases(
    model: DescribedModel, onnx_model: bytes, reference: Reference | None = None, *, rows_apart: bool = False
) -> GoldenCases:
    """Make a model's golden cases, some with inputs left out, and replay them on its ONNX model as servers will.

    Args:
        model: Model that is published.
        onnx_model: Made from it, and proven.
        reference: Reference by which it was proven; None for a new one.
        rows_apart: Whether a row's results depend on no other row.

    Raises:
        ExportError: If the ONNX model does not give them.
    """
    runner = OnnxRunner(onnx_model)
    with evaluating(model.module):
        reference = reference_of(model) if reference is None else reference
        golden = make_cases(model, reference, runner, rows_apart=rows_apart)
        golden = _with_left_out(golden, model, reference, runner)
    failures = golden.failures(model, runner)
    if failures:
        raise ExportError(f"{MODEL} does not give the golden results, so nothing is published: {'; '.join(failures)}")
    return golden


def _with_left_out(golden: GoldenCases, model: DescribedModel, reference: Reference, compute: Inference) -> GoldenCases:
    """Add cases without the inputs whose defaults are recorded: eager's results are those of the forward without them.

    Args:
        golden: Cases with every input.
        model: Model that is published.
        reference: Module of the model, in evaluation mode.
        compute: ONNX model.
    """
    own = {
        tensor.name
        for tensor in model.inputs
        if tensor.default == manifest_pb2.DEFAULT_RECORDED or tensor.left_out_with
    }
    by_forward = {name for tensors in reference.interface.optional if own.intersection(tensors) for name in tensors}
    names = by_forward | model.defaults.keys()  # a described beginning, where forward has none
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
            filled = fill_left_out(model.inputs, inputs, model.defaults, sizes_of(model.inputs, inputs))
            of = "step" if kind == "step" else "sequence"
            furthest[of] = max(furthest[of], float(rounding.distances(filled, with_model=False).max()))
            given = {name: array for name, array in filled.items() if name not in by_forward}
            cases.append(Case(kind, inputs, eager=reference.eager(given), float64=reference.exact(filled)))
    return dataclasses.replace(golden, cases=cases, step=furthest["step"], sequence=furthest["sequence"])
