"""Run all comparisons of eager PyTorch, TorchScript and ONNX: return the record, or raise every difference."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import torch
from google.protobuf.message import DecodeError
from tabulate import tabulate
from tqdm import tqdm

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.errors import ParityError
from rnnserve.export.first_non_finite import find_first_non_finite, non_finite_advice
from rnnserve.export.flat_module import flat_script
from rnnserve.export.onnx_files import load_proto
from rnnserve.export.onnx_runner import PROVIDERS, OnnxRunner
from rnnserve.export.parity.batches import (
    EXTREMES,
    IDS,
    LENGTHS,
    NOT_FINITE,
    USUAL,
    ExtremeBatches,
    InputBatch,
    computes_with_sizes,
    groups_of,
    input_batches,
    named_integers,
)
from rnnserve.export.parity.batching_safety import find_batching, walk_graph
from rnnserve.export.parity.reference import FLOAT64, Reference
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.parity.value_comparison import FailureCollector, ValueComparison
from rnnserve.export.surroundings import one_thread
from rnnserve.export.tensors import draw_inputs, is_state
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH

_Tensors = Sequence[manifest_pb2.Tensor]

_PAIRS = ("onnx from\neager", "eager from\nfloat64", "onnx from\nfloat64")
_HEADERS = ["input", "tensor", "length", *(f"{pair}\n{figure}" for pair in _PAIRS for figure in ("largest", "rms"))]
_COLUMNS = [f"{pair.replace(chr(10), '_').replace(' ', '_')}_{figure}" for pair in _PAIRS for figure in ("max", "rms")]


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result of the verification."""

    parity: manifest_pb2.Parity  # the comparisons, and the distances found
    batching: manifest_pb2.Batching  # which requests may share an inference call
    zeros_after_lengths: Collection[str]  # names of the outputs whose values are zero after each row's length
    causality: Mapping[str, manifest_pb2.Finding] = dataclasses.field(default_factory=dict)  # by output
    script_rounding: str = ""  # set if only the script's last bits differ, because it computes in another order


def verify_parity(
    model: DescribedModel,
    script: torch.jit.ScriptModule | None,
    onnx_model: bytes,
    *,
    seed: int = 0,
    progress: bool = True,
    device: str = "cpu",
    reference: Reference | None = None,
) -> Verification:
    """Verify that a script and an ONNX model compute the same as a module in eager mode.

    The same seed leads to the same inputs. The ONNX model runs on `device` and must meet its limits, while the module
    runs on the CPU. You can share a `reference` between several verifications of the same module. Raises ParityError
    with a line for every difference.
    """
    with one_thread(), evaluating(model.module):
        reference = reference_of(model) if reference is None else reference
        limits, failures = limits_for(device), FailureCollector()
        try:
            loaded = load_proto(onnx_model)
            differences = list(check_onnx(loaded, model.inputs, model.outputs))
            runner = OnnxRunner(onnx_model, providers=PROVIDERS[device])
        except DecodeError as error:
            raise ParityError([f"onnx: is not an ONNX model: {error}"]) from error
        except RuntimeError as error:
            raise ParityError([*differences, f"onnx: {error}"]) from error
        for difference in differences:
            failures.add(difference)
        graph = ir.from_proto(loaded)
        flat = model.module
        scripted = None if script is None else flat_script(script, flat.call.inputs, flat.outputs)
        comparison = ValueComparison(model, reference, limits, failures)
        batches = list(input_batches(model, seed))
        extremes = ExtremeBatches(
            model, seed, computes_with_sizes=computes_with_sizes(graph), named=named_integers(graph)
        )
        every = [*batches, *extremes]
        with tqdm(total=len(every), desc="parity", unit=" batches", leave=False, disable=not progress) as bar:
            for group in groups_of(every):
                bar.set_postfix_str(str(group[0]), refresh=False)
                comparison.compare(group, scripted, runner)
                bar.update(len(group))
        comparison.judge()
        non_finite = _say_non_finite(model, comparison.non_finite, failures)
        rounding = comparison.script_rounding.lines()
        if len(failures):
            raise ParityError([*failures.lines(), *rounding])
        is_scripted = script is not None and not rounding
        parity = manifest_pb2.Parity(
            checks=[
                *_checks(model, reference, batches, comparison.zeros_after_lengths, is_scripted=is_scripted),
                *(f'onnx: "{name}", except where rounding alone changes it' for name in sorted(comparison.undecided)),
            ],
            batch_sizes=sorted({batch.rows for batch in batches}),
            lengths=sorted({batch.length for batch in batches}),
            samples=sum(batch.rows for batch in batches),
            distances=comparison.distances.record(USUAL),
            exact=reference.exact_by,
            drawn=[f"{kind}: {text}" for kind, text in extremes.drawn.items() if kind not in comparison.unanswered],
            not_drawn=[
                *extremes.not_drawn,
                *(f"{kind}: forward raises for {what}" for kind, what in comparison.unanswered.items()),
            ],
            non_finite=non_finite,
            amplified=comparison.distances.amplified(),
        )
        findings = walk_graph(loaded, model.inputs, model.outputs)
        batching = find_batching(model, reference, limits, seed, findings)
        return Verification(
            parity,
            batching,
            comparison.zeros_after_lengths,
            findings.recorded_causality(),
            script_rounding=rounding[0] if rounding else "",
        )


def reference_of(model: DescribedModel) -> Reference:
    """Make the reference of a described model, in evaluation mode."""
    sizes = {axis: low for axis, (low, _) in model.sizes.items()}
    sizes[BATCH] = min(max(2, sizes[BATCH]), model.sizes[BATCH][1])
    return Reference(model.module, draw_inputs(model.inputs, np.random.default_rng(0), sizes))


def _say_non_finite(
    model: DescribedModel, found: Mapping[str, tuple[InputBatch, str]], failures: FailureCollector
) -> list[str]:
    """Describe NaN and infinity in eager's outputs and their origin, by kind. Refuse them for ordinary values.

    The sentences name no line of a file, so that the same module always leads to the same record.
    """
    said, is_advised = [], False
    for kind, (batch, name) in found.items():
        if kind == NOT_FINITE:
            continue
        sentence = f'{kind}: eager itself returns NaN or infinity in "{name}"'
        origin = find_first_non_finite(model.module, batch.inputs)
        said.append(sentence if origin is None else f"{sentence}; the first ones come from {origin}")
        if _is_ordinary(kind, model) and not model.allow_non_finite:
            advice = "" if is_advised else non_finite_advice(model.module, batch.inputs)
            is_advised = True
            failures.add(f"eager, {sentence}{advice}")
    return said


def _is_ordinary(kind: str, model: DescribedModel) -> bool:
    """Whether the description allows all values of a kind: usual values, or any values within described bounds."""
    if kind in (*USUAL, IDS, LENGTHS):
        return True
    floats = [tensor for tensor in model.inputs if tensor.datatype.startswith("FP") and not is_state(tensor)]
    return kind in EXTREMES and not EXTREMES[kind].is_of_states and all(tensor.HasField("floats") for tensor in floats)


def _checks(
    model: DescribedModel,
    reference: Reference,
    batches: list[InputBatch],
    zeros: Collection[str],
    *,
    is_scripted: bool,
) -> list[str]:
    """List the comparisons, one line each."""
    kinds = {batch.kind for batch in batches}
    exact = "float64" if reference.exact_by == FLOAT64 else "itself on inputs moved by an ulp"
    has_axes = bool(model.sequence_axes)
    lines = {
        "torchscript: names, shapes, dtypes, values as in eager, bit for bit": is_scripted,
        "onnx: names, axis names, dtypes, shapes": True,
        "onnx: single steps from arbitrary states, within a few ulps of eager": "step" in kinds and has_axes,
        "onnx: drawn inputs, within a few ulps of eager": "step" in kinds and not has_axes,
        f"onnx: whole random sequences, as close to {exact} as eager": "random" in kinds,
        f"onnx: given samples, close to eager, and as close to {exact} as eager": "sample" in kinds,
        f"onnx: zeros after each row's length in {', '.join(sorted(zeros))}": bool(zeros),
    }
    return [line for line, holds in lines.items() if holds]


def check_onnx(model: onnx.ModelProto, inputs: _Tensors, outputs: _Tensors) -> Iterator[str]:
    """Compare an ONNX model's inputs and outputs with their descriptions. Yields a sentence for each difference."""
    constants = {tensor.name for tensor in model.graph.initializer}
    yield from _check_side("input", [value for value in model.graph.input if value.name not in constants], inputs)
    yield from _check_side("output", list(model.graph.output), outputs)


def _check_side(side: str, values: Sequence[onnx.ValueInfoProto], expected: _Tensors) -> Iterator[str]:
    found = {value.name: value for value in values}
    names = [tensor.name for tensor in expected]
    if list(found) != names:
        yield f"onnx, names: {side}s are {_listed(list(found))}; expected {_listed(names)}"
    for tensor in expected:
        if tensor.name not in found:
            continue
        kind = found[tensor.name].type.tensor_type
        dtype, expected_dtype = _dtype(kind.elem_type), DTYPES[tensor.datatype].name
        if dtype != expected_dtype:
            yield f'onnx, dtypes: {side} "{tensor.name}" is {dtype}; expected {expected_dtype}'
        axes = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "(no name)" for dim in kind.shape.dim
        )
        expected_axes = tuple(axis.name if axis.size < 0 else axis.size for axis in tensor.axes)
        if axes != expected_axes:
            yield f'onnx, axis names: {side} "{tensor.name}" has axes {_shown(axes)}; expected {_shown(expected_axes)}'


def _dtype(elem_type: int) -> str:
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    except KeyError:
        return f"of ONNX's type {elem_type}"


def _shown(axes: Sequence[str | int]) -> str:
    return f"({', '.join(str(axis) for axis in axes)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or "none"


def parity_summary(parity: manifest_pb2.Parity) -> str:
    """Summarize a parity record in a few lines: the number of sequences compared, and the caveats."""
    batch_sizes, lengths = _span(parity.batch_sizes), _span(parity.lengths)
    lines = [
        f"{parity.samples:,} sequences compared with eager PyTorch, in batches of {batch_sizes}, of {lengths} steps"
    ]
    lines += [f"not drawn: {line}" for line in parity.not_drawn]
    return "\n".join([*lines, *(f"amplified: {line}" for line in parity.amplified)])


def parity_table(parity: manifest_pb2.Parity) -> str:
    """Format a parity record in at most 120 columns, with a line for each kind of input, tensor and length."""
    rows = [(row.input, row.tensor, row.length, *(getattr(row, name) for name in _COLUMNS)) for row in parity.distances]
    table = tabulate(rows, headers=_HEADERS, tablefmt="plain", floatfmt=".1e", numalign="right")
    drawn = [f"also drawn: {line}" for line in parity.drawn]
    return "\n".join([*parity.checks, *drawn, parity_summary(parity), "", table])


def _span(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "no"
