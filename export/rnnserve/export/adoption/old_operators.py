"""Files of operator sets that onnxruntime runs in part or not at all, converted, and compared with what they were.

onnxruntime has kernels from operator set 7 on, and a Scan over rows, which a file of one row needs, since 9. onnx
converts such files; some conversions change what an operator computes, so results are compared: with those that
onnxruntime gives for the file as it was, or, where it does not run it, with those of onnx's own reference.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import version_converter

from rnnserve.export.adoption.file_comparison import is_same_result
from rnnserve.export.adoption.open_axes import Batches, OpenInput, draw
from rnnserve.export.errors import ExportError
from rnnserve.export.parity import ONNX_REFERENCE, OnnxProcess, OnnxRunner

__all__ = ["OLDEST", "check_converted", "converted", "operator_set"]

OLDEST = 9
"""The operator set to which older files are converted: the first with Scan in its present form."""

_DOMAINS = ("", "ai.onnx")
_KEPT = "rnnserve.kept"  # a domain that onnx's converter passes over
_RECURRENT = ("RNN", "GRU", "LSTM")

_WEIGHTS_APART = 4  # the IR version since which initializers need not be inputs
_RUNS = 3
_ANY_SIZE = 12


def operator_set(model: onnx.ModelProto) -> int:
    """Give the version of onnx's own operators that a file has; 0 where it has none of them."""
    return max((each.version for each in model.opset_import if each.domain in _DOMAINS), default=0)


def converted(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Give an old file with operators of set `OLDEST`; None where it is not older, or onnx does not convert it."""
    if not 0 < operator_set(model) < OLDEST:
        return None
    given = _of_fixed_sizes(model)
    _drop_switches(given)
    for node in given.graph.node:
        if node.op_type in _RECURRENT and node.domain in _DOMAINS:
            node.domain = _KEPT  # the converter has no rule for them, though nothing else has changed
    given.opset_import.add(domain=_KEPT, version=1)
    try:
        result: onnx.ModelProto = version_converter.convert_version(given, OLDEST)
        for node in result.graph.node:
            node.domain = "" if node.domain == _KEPT else node.domain
        others = [each for each in result.opset_import if each.domain != _KEPT]
        del result.opset_import[:], result.graph.value_info[:]
        result.opset_import.extend(others)
        for values, before in ((result.graph.input, model.graph.input), (result.graph.output, model.graph.output)):
            del values[:]
            values.extend(before)
        onnx.checker.check_model(result)
    except (RuntimeError, ValueError, onnx.checker.ValidationError):  # of the converter, whose own class is the first
        return None
    return result


def _drop_switches(model: onnx.ModelProto) -> None:
    """Remove attributes of before set 7 that change no result that has a name; neither converter nor reference does."""
    for node in model.graph.node:
        if node.op_type in _RECURRENT:
            kept = [each for each in node.attribute if each.name != "output_sequence"]
            del node.attribute[:]
            node.attribute.extend(kept)
        elif node.op_type == "Dropout" and any(each.name == "is_test" and each.i for each in node.attribute):
            node.op_type = "Identity"
            del node.attribute[:], node.output[1:]


def _of_fixed_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a file with a size for each axis and each result: the rules of the converter for broadcasting ask for them.

    Results have the shapes that operators of set `OLDEST` give, since old recurrent ones do not tell theirs.
    """
    given = onnx.ModelProto()
    given.CopyFrom(model)
    given.ir_version = max(given.ir_version, _WEIGHTS_APART)
    del given.graph.value_info[:]
    for value in (*given.graph.input, *given.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = _ANY_SIZE
    named = onnx.ModelProto()
    named.CopyFrom(given)
    for each in named.opset_import:
        each.version = OLDEST if each.domain in _DOMAINS else each.version
    given.graph.value_info.extend(onnx.shape_inference.infer_shapes(named).graph.value_info)
    return given


def check_converted(
    model: onnx.ModelProto,
    inputs: Sequence[OpenInput],
    batches: Batches,
    sizes: Mapping[str, int],
    made: OnnxRunner,
    process: OnnxProcess,
) -> str:
    """Compare a converted file with what it was.

    Args:
        model: The file as it was.
        inputs: Inputs of the file.
        batches: Axis of each input that is the batch.
        sizes: Sizes of other axes with which it runs.
        made: The converted file.
        process: Process in which both run.

    Returns:
        What was done, in words.

    Raises:
        ExportError: If it has other results, or nothing runs it as it was.
    """
    before = f"its operator set is {operator_set(model)}, converted to {OLDEST} by onnx"
    by, judge = _judge(model, inputs, batches, sizes, process)
    for run in range(_RUNS):
        given = draw(inputs, batches, 1, sizes, np.random.default_rng([run, OLDEST]))
        expected, found = judge(given), made(given)
        for name, array in expected.items():
            if not is_same_result(found[name], array):
                raise ExportError(
                    f'{before}, which changes what it computes: "{name}" differs from the results of {by}; export it '
                    f"again with operator set {OLDEST} or later"
                )
    return f"onnx: {before}: it has the results of {by}"


def _judge(
    model: onnx.ModelProto,
    inputs: Sequence[OpenInput],
    batches: Batches,
    sizes: Mapping[str, int],
    process: OnnxProcess,
) -> tuple[str, OnnxRunner]:
    """Give what runs the file as it was, and what to call it."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    _drop_switches(plain)
    refused = ""
    for by, provider, file in (
        ("onnxruntime for the file as it was", "CPUExecutionProvider", model),
        ("onnx's reference", ONNX_REFERENCE, plain),
    ):
        try:
            runner = OnnxRunner(file.SerializeToString(), providers=[provider], process=process)
            runner(draw(inputs, batches, 1, sizes, np.random.default_rng(0)))
        except RuntimeError as error:
            refused = refused or str(error)
            continue
        return by, runner
    raise ExportError(
        f"its operator set {operator_set(model)} is older than what onnxruntime runs, and nothing runs it as it is, to "
        f"compare its conversion with; export it again with operator set {OLDEST} or later ({refused})"
    )
