"""Turn an ONNX file from any exporter into a published version, marked as imported.

The import first sets constants, finds the batch axis and names the axes. Then it runs the file to describe its outputs.
"""

import collections
import contextlib
import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from rnnserve.export.description.described_outputs import check_sizes, describe_outputs, settle_by_runs
from rnnserve.export.description.described_tensors import (
    ModelDescription,
    check_inputs,
    check_states,
    complete_sample,
    name_classes,
)
from rnnserve.export.description.forward_trials import Trial
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.description.targets import check_model_name
from rnnserve.export.errors import ExportError, UnsupportedModule, WrongArguments
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.golden_cases import GoldenCases, make_cases
from rnnserve.export.onnx_files import load_proto, read_onnx, save_model
from rnnserve.export.onnx_import.file_inputs import (
    FROZEN,
    FileInput,
    Opening,
    Roles,
    ask,
    check_lengths,
    check_names,
    describe_inputs,
    find_batch,
    open_shapes,
    openings,
    put_constants,
    read_inputs,
)
from rnnserve.export.onnx_import.folding import fold
from rnnserve.export.onnx_import.samples import Sample, expected_cases
from rnnserve.export.parity import OnnxRunner, OnnxTruth, Verification
from rnnserve.export.parity.batching_safety import find_batching, walk_graph
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.pipeline import ExportResult, describe_version
from rnnserve.export.publishing import Seal, check_config, publish_tried, render_config
from rnnserve.export.tensors import Arrays, draw_inputs, mask_before_lengths, sequence_axes, sizes_near
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, dump_manifest
from rnnserve.protos.golden import dump_cases
from rnnserve.protos.protocol_words import BATCH

__all__ = ["describe_states", "import_onnx"]

_Tensors = Sequence[manifest_pb2.Tensor]

_NOT_COMPARED = "adopted: not compared with its framework"
_OLDEST = 9
"""The oldest operator set supported: onnxruntime tests none before 7, and Scan has had its current form since 9."""

_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
_RAGGED_BATCHES = 4
_SHOWN = 5  # names per message: an old file may list every weight
_WEIGHTS_APART = 4  # since this IR version, initializers need not be inputs
_FAR = 4096
"""The largest size to run files at: one audio frame has hundreds of samples."""
_CHECKED = 1025
"""The largest size at which the sizes of outputs are compared."""

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_BEFORE_OR_AFTER = frozenset(
    {"in", "out", "input", "output", "new", "next", "prev", "previous", "past", "present", "init", "initial"}
    | {"final", "last", "cur", "current", "n", "o", "i", "0", "t", "y"}
)
_STATES = frozenset(
    {"h", "c", "s", "z", "hx", "cx", "hidden", "cell", "state", "states", "cache", "cached", "caches", "memory", "mem"}
    | {"context", "ctx", "rnn", "lstm", "gru", "carry", "conv", "buffer", "buffers", "buf", "sum", "count", "avg"}
)


def import_onnx(
    path: Path,
    name: str,
    repository: Path,
    roles: Roles | None = None,
    samples: Sequence[Sample] = (),
    seal: Seal = lambda *_: None,
) -> ExportResult:
    """Publish an ONNX file as a model's next version, marked as imported.

    Weights may be in separate files in the same folder. The version's own file then holds them.
    `roles` supplies the facts about tensors that the file lacks. If samples include outputs, the file must compute
    these outputs, and servers check them before they serve the version. Raises ExportError, ArtifactError or OSError.
    """
    check_model_name(name)
    roles = roles or Roles()
    model = read_onnx(path)
    number = max(model.opset_imports.get(domain, 0) for domain in ("", "ai.onnx"))
    if 0 < number < _OLDEST:
        raise WrongArguments(
            f"{path} has operators of set {number}; expected {_OLDEST} or later. Export it again, or convert it and "
            f"compare the results: onnx.version_converter.convert_version(onnx.load(path), {_OLDEST})"
        )
    for node in model.graph.all_nodes():
        if node.op_type in _RANDOM:
            raise WrongArguments(
                f'{path}: node "{node.name or node.outputs[0].name}" ({node.op_type}) draws random numbers, so results '
                "cannot be checked. Export the model without it, or make the numbers an input"
            )
    _choose_outputs(model, roles.outputs)
    if roles.fold:
        roles = dataclasses.replace(roles, states={**_counters(model, roles), **roles.states})
    with _naming(path):
        inputs, notes = _prepare(model, roles)
    with _naming(path, "; if the model accepts only some sizes, name them: --size AXIS=LOW:HIGH"):
        description = _describe(OnnxRunner(save_model(model)), inputs, name, roles)
        if roles.fold:
            inputs, roles = _fold(model, description, roles)
            notes.append(f'onnx: the file computes one step; a Scan now runs it over all steps of "{roles.fold}"')
            description = _describe(OnnxRunner(save_model(model)), inputs, name, roles)
        elif any(each.continues_as for each in description.outputs) and not description.sequence_axes:
            notes.append("onnx: each request is one step; --fold AXIS makes a request hold any number of steps")
        _write_axes(model.graph.outputs, description.outputs)
        return _publish(description, model, repository, samples, notes, seal)


@contextlib.contextmanager
def _naming(path: Path, advice: str = "") -> Iterator[None]:
    """Add the file's name to errors that `OnnxRunner` raises."""
    try:
        yield
    except RuntimeError as error:
        raise ExportError(f"{path}: {error}{advice}") from error


def _choose_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """Keep only the named outputs, in the order of the names. Without names, keep all outputs."""
    by_name = {value.name: value for value in model.graph.outputs}
    for name in names:
        if name not in by_name:
            raise WrongArguments(f'there is no output "{name}"; the outputs are {", ".join(map(str, by_name))}')
    if names:
        model.graph.outputs[:] = [by_name[name] for name in names]


def _prepare(model: ir.Model, roles: Roles) -> tuple[_Tensors, list[str]]:
    """Set constants, find the batch and name axes, in place. Returns the inputs, and notes on the changes made."""
    notes = [*_drop_inputs_with_values(model)]
    check_names(model, roles)
    if roles.constants:
        put_constants(model, roles.constants)
        shown = ", ".join(f'"{name}" is {text}' for name, text in roles.constants.items())
        notes.append(f"onnx: inputs with the value from --constant in every request: {shown}")
    inputs, questions = read_inputs(model, roles)
    ask(questions)
    opened = ((each, OnnxRunner(save_model(_with_open_batch(model, inputs, each)))) for each in openings(model))
    opening, batches = find_batch(inputs, opened, roles)
    described = describe_inputs(inputs, batches, roles.fixed)
    check_lengths(described, roles)
    axes = sequence_axes(describe_inputs(inputs, batches, {}))
    for name in roles.fixed:
        if name not in axes:
            raise WrongArguments(f'--size names the axis "{name}"; the dynamic axes are {", ".join([BATCH, *axes])}')
    _write_axes(model.graph.inputs, described)
    _forget_shapes(model)  # torch.onnx may declare the sample's sizes, and onnxruntime trusts them
    if opening or any(each.tensor.axes[batches[each.tensor.name]].size == 1 for each in inputs):
        open_shapes(model, opening)
        notes.append(
            "onnx: the batch was fixed at 1 and is now dynamic; each row has the same results as in the original file"
        )
    tried = [each.tensor.name for each in inputs if not each.is_settled]
    if tried:
        places = ", ".join(f'axis {batches[name]} of "{name}"' for name in tried)
        notes.append(f"onnx: batch axes found by running the file: {places}")
    return described, notes


def _drop_inputs_with_values(model: ir.Model) -> Iterator[str]:
    """Remove inputs whose values are in the file: weights in an old file, and values that a caller might override."""
    names = [value.name for value in model.graph.inputs if value.is_initializer()]
    if names:
        model.graph.inputs[:] = [value for value in model.graph.inputs if not value.is_initializer()]
        model.ir_version = max(model.ir_version, _WEIGHTS_APART)
        shown = ", ".join(f'"{name}"' for name in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"onnx: inputs with values in the file keep these values; requests cannot set them: {shown}{more}"


def _with_open_batch(model: ir.Model, inputs: Sequence[FileInput], opening: Opening) -> ir.Model:
    """Copy the file, make every possible batch axis dynamic, and drop the shapes of intermediate values."""
    opened = model.clone()
    for value, each in zip(opened.graph.inputs, inputs, strict=True):
        shape = value.shape or ()
        value.shape = ir.Shape([None if at in each.candidates else dim for at, dim in enumerate(shape)])
    _forget_shapes(opened)
    open_shapes(opened, opening)
    return opened


def _write_axes(values: Sequence[ir.Value], tensors: _Tensors) -> None:
    """Write the described axes into a file's inputs or outputs."""
    for value, tensor in zip(values, tensors, strict=True):
        value.shape = ir.Shape([axis.name if axis.size == DYNAMIC else axis.size for axis in tensor.axes])


def _forget_shapes(model: ir.Model) -> None:
    for node in model.graph:
        for output in node.outputs:
            output.shape = None


def _describe(run: OnnxRunner, inputs: _Tensors, name: str, roles: Roles) -> ModelDescription:
    """Run the file at several sizes to describe its outputs."""
    sizes = check_inputs(inputs, roles.sizes)

    def compute(arrays: Arrays) -> Arrays:
        try:
            return run(arrays)
        except RuntimeError as error:
            shapes = ", ".join(f'"{name}" {list(array.shape)}' for name, array in arrays.items())
            raise WrongArguments(
                f"onnxruntime cannot run the model with {shapes}. If it accepts only some sizes, name them: --size "
                f"AXIS=LOW:HIGH. {FROZEN} {error}"
            ) from error

    longer = {
        axis: (low, high if axis == BATCH or axis in roles.sizes else max(high, _FAR))
        for axis, (low, high) in sizes.items()
    }
    try:
        trial = Trial(compute, inputs, longer)
        outputs = describe_outputs(trial, run.outputs)
        settle_by_runs(trial, outputs)
        check_sizes(Trial(compute, inputs, sizes), outputs, _CHECKED)
    except UnsupportedModule as error:
        free = [axis for axis in sizes if axis != BATCH and axis not in roles.sizes]
        bounds = "".join(f" --size {axis}=LOW:HIGH" for axis in free)
        options = f", or give the sizes of requests:{bounds}" if free else ""
        raise UnsupportedModule(f"{error}. You can publish only the other outputs: --output NAME{options}") from error
    for tensor in outputs:
        for at, axis in enumerate(tensor.axes):
            named = roles.axes.get((tensor.name, at), axis.name)
            if axis.size == DYNAMIC and named != axis.name:
                raise WrongArguments(
                    f'--axis {tensor.name}.{at}={named}: this axis always has the size of "{axis.name}"'
                )
            axis.name = named
    check_states(describe_states(inputs, outputs, roles), inputs, outputs)
    name_classes(roles.labels, outputs)
    return ModelDescription(
        name=name,
        inputs=inputs,
        outputs=outputs,
        labels=list(roles.labels),
        sizes=sizes,
    )


def _fold(model: ir.Model, description: ModelDescription, roles: Roles) -> tuple[_Tensors, Roles]:
    """Wrap a one-step file in a loop over steps. Return its new inputs, and the roles to describe it again."""
    states = describe_states(description.inputs, description.outputs, roles)
    inputs, states = fold(model, roles.fold, description.inputs, description.outputs, states, roles.overlaps)
    _write_axes(model.graph.inputs, inputs)
    return inputs, dataclasses.replace(roles, states=states, axes={})


def describe_states(inputs: _Tensors, outputs: _Tensors, roles: Roles) -> dict[str, str]:
    """Find which output becomes which input of the next request. Marks these inputs as zero by default.

    The user's roles come first. Otherwise an output and an input form a pair if their axes match and their names look
    like a state's. X_0 and X_n form a pair. So do names that contain a word such as "h", "state" or "cache" and differ
    only in words such as "in", "out" or "new": state and stateN, in_cache0 and out_cache0, hidden_in and hidden_out.
    """
    states = dict(roles.states)
    for tensor in inputs:
        finals = [each for each in outputs if each.name not in states and _are_states(tensor, each)]
        rivals = [each for each in inputs if any(_are_states(each, final) for final in finals)]
        if len(finals) == 1 and len(rivals) == 1 and tensor.name not in states.values():
            states[finals[0].name] = tensor.name
    for tensor in inputs:
        if tensor.name in states.values():
            tensor.default = manifest_pb2.DEFAULT_ZEROS
    return states


def _are_states(before: manifest_pb2.Tensor, after: manifest_pb2.Tensor) -> bool:
    """Whether two tensors look like one state: named X_0 and X_n, or float tensors per row without a step axis."""
    if before.name.endswith("_0") and after.name == f"{before.name.removesuffix('_0')}_n":
        return _axes(before) == _axes(after)
    words = _name_stem(before.name)
    is_of_rows = all(axis.name == BATCH for axis in before.axes if axis.size == DYNAMIC)
    is_alike = before.datatype == after.datatype and _axes(before) == _axes(after)
    is_state = is_alike and is_of_rows and before.datatype.startswith("FP")
    return is_state and bool(_STATES & set(words)) and words == _name_stem(after.name)


def _counters(model: ir.Model, roles: Roles) -> dict[str, str]:
    """Find states of integers and booleans of a one-step file, by name: frame_count_next continues as frame_count."""
    given = {*roles.states.values(), *roles.constants, *roles.lengths}
    pairs = [
        (after.name or "", before.name or "")
        for before, after in itertools.product(model.graph.inputs, model.graph.outputs)
        if before.dtype == after.dtype and before.dtype is not None
        if before.dtype.is_integer() or before.dtype == ir.DataType.BOOL
        if _name_stem(before.name or "") and _name_stem(before.name or "") == _name_stem(after.name or "")
        if before.name not in given and after.name not in roles.states
    ]
    inputs = collections.Counter(before for _, before in pairs)
    outputs = collections.Counter(after for after, _ in pairs)
    return {after: before for after, before in pairs if inputs[before] == outputs[after] == 1}


def _axes(tensor: manifest_pb2.Tensor) -> list[tuple[int, str]]:
    """List the axes of a tensor, for comparing an output with an input. A growing cache differs from its input."""
    return [(axis.size, axis.name if axis.size == DYNAMIC else "") for axis in tensor.axes]


def _name_stem(name: str) -> tuple[str, ...]:
    """Split a name into words and drop words for before and after: hN, h0 and h_in all become h."""
    words = [word.lower() for word in _WORDS.findall(name)]
    words = [word[:-1] if len(word) > 1 and word[:-1] in _STATES and word[-1] == "n" else word for word in words]
    return tuple(word for word in words if word not in _BEFORE_OR_AFTER)


def _publish(
    model: ModelDescription,
    graph: ir.Model,
    repository: Path,
    samples: Sequence[Sample],
    notes: Sequence[str],
    seal: Seal,
) -> ExportResult:
    data = save_model(graph)
    parts, truth = find_parts(model, MODEL, {MODEL: data}, OnnxRunner), OnnxTruth(OnnxRunner(data))
    check_config(repository / model.name, model.inputs, model.outputs)
    complete = [complete_sample(number, sample.inputs, model.inputs) for number, sample in enumerate(samples)]
    unknown = [inputs for inputs, sample in zip(complete, samples, strict=True) if not sample.outputs]
    known = [(inputs, sample.outputs) for inputs, sample in zip(complete, samples, strict=True) if sample.outputs]
    model = dataclasses.replace(model, samples=unknown)
    expected = expected_cases(model, truth, known)
    drawn = make_cases(model, truth, truth.runner)
    golden = GoldenCases([*drawn.cases, *expected.cases], drawn.step, max(drawn.sequence, expected.sequence))
    failures = golden.failures(model, truth.runner)
    if failures:
        raise ExportError(
            f"{MODEL} does not reproduce its own results, so nothing was published: {'; '.join(failures)}"
        )
    checks = [_NOT_COMPARED, *notes]
    if known:
        names = sorted({name for _, outputs in known for name in outputs})
        checks.append(f"onnx: outputs equal those of {len(known)} samples: {', '.join(names)}")
    checks.append("onnx: batching, verified with the graph and with onnxruntime's own results")
    findings = walk_graph(load_proto(data), model.inputs, model.outputs)
    batching = find_batching(model, truth, limits_for("cpu"), 0, findings)
    is_quantised = any(node.op_type.startswith("DynamicQuantize") for node in graph.graph.all_nodes())
    if is_quantised and batching.rows.means != manifest_pb2.MEANS_PROVEN:
        why = (
            "it scales numbers to int8 by the largest value in the batch, so each row changes the results of the others"
        )
        batching = manifest_pb2.Batching(mode=manifest_pb2.BATCHING_ALONE, rows=batching.rows, reasons=[why])
    found = Verification(
        manifest_pb2.Parity(checks=checks), batching, _zeros_after_lengths(model, truth), findings.recorded_causality()
    )
    files = {MODEL: data, GOLDEN: dump_cases(golden.cases), **parts.files({})}
    manifest = describe_version(model, found, golden, files, origin=manifest_pb2.ORIGIN_ADOPTED, parts=parts.record)
    files[MANIFEST] = dump_manifest(manifest)
    config = render_config(model.name, model.inputs, model.outputs)
    published, untried = publish_tried(repository / model.name, files, config, is_imported=True, seal=seal)
    return ExportResult(model.name, published, manifest, untried=untried)


def _zeros_after_lengths(model: ModelDescription, truth: OnnxTruth) -> set[str]:
    """Return the outputs whose values are zero after each row's length."""
    lengths = model.lengths
    zeros = {tensor.name for tensor in model.outputs if any(axis.name in lengths for axis in tensor.axes)}
    random = np.random.default_rng(0)
    for _ in range(_RAGGED_BATCHES):
        inputs = draw_inputs(model.inputs, random, sizes_near(model.sizes, 8, 5), ragged=True)
        for tensor, array in ((tensor, truth.eager(inputs)[tensor.name]) for tensor in model.outputs):
            mask = mask_before_lengths(tensor, array.shape, inputs, lengths)
            if mask is not None and np.where(mask, 0, array).any():
                zeros.discard(tensor.name)
    return zeros
