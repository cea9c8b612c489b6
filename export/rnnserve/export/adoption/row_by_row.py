"""A file for one row at a time, run for each row of a batch: a Scan over the rows, whose body is the file's graph.

Some files are exported for a batch of 1, and fail with more rows or mix them; others have no batch axis at all. Rows of
such a Scan have the results that the file gives for each of them alone: no row can reach another.
"""

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from rnnserve.export.adoption.open_axes import Batches, OpenInput
from rnnserve.export.adoption.roles import Roles
from rnnserve.export.adoption.state_pairs import name_stem
from rnnserve.export.errors import WrongArguments
from rnnserve.export.onnx_files import model_inputs
from rnnserve.export.subgraphs import rename
from rnnserve.protos.protocol_words import BATCH

__all__ = ["output_batches", "run_row_by_row"]

_DOMAINS = ("", "ai.onnx")
_SCAN = 9  # the operator set in which Scan got its present form
_AXES_ARE_INPUTS = 13  # the operator set since which Squeeze and Unsqueeze take their axes as an input
_INSIDE = "/row"


def run_row_by_row(
    model: onnx.ModelProto,
    inputs: Mapping[str, int | None],
    outputs: Mapping[str, int | None],
    ranks: Mapping[str, int],
) -> onnx.ModelProto:
    """Give a model that runs a graph of one row for each row of a batch.

    Args:
        model: The model of one row.
        inputs: Axis of size 1 that becomes the batch, by input; None for a new axis before the others.
        outputs: Axis of each output, likewise.
        ranks: The number of axes of each output for one row.

    Raises:
        WrongArguments: If its operator set is too old.
    """
    opset = max((each.version for each in model.opset_import if each.domain in _DOMAINS), default=0)
    if opset < _SCAN:
        raise WrongArguments(
            f"it runs with one row only, its operator set {opset} is too old to repeat it for each row, and onnx does "
            f"not convert it: export it again with operator set {_SCAN} or later"
        )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    body, graph = onnx.GraphProto(), result.graph
    body.CopyFrom(graph)
    given = {value.name: value for value in model_inputs(model)}
    del body.input[:], body.output[:], body.value_info[:]
    rename(body, {name: f"{name}{_INSIDE}" for name in (*given, *(value.name for value in graph.output))})
    before = []
    for name, axis in inputs.items():
        before.extend(_change_rank("Unsqueeze", f"{name}{_INSIDE}/flat", f"{name}{_INSIDE}", axis, opset))
        body.input.add(name=f"{name}{_INSIDE}/flat").type.tensor_type.elem_type = given[name].type.tensor_type.elem_type
    nodes = [*before, *body.node]
    for value in graph.output:
        axis, rank, inside = outputs[value.name], ranks[value.name], f"{value.name}{_INSIDE}"
        # A number goes out as a column of one: onnxruntime's Scan fails where a Squeeze is to write numbers to it.
        change = ("Squeeze", axis, rank - (axis is not None)) if rank else ("Unsqueeze", 0, 1)
        nodes.extend(_change_rank(change[0], inside, f"{inside}/flat", change[1], opset))
        kind = body.output.add(name=f"{inside}/flat").type.tensor_type
        kind.elem_type = value.type.tensor_type.elem_type
        kind.shape.SetInParent()  # onnxruntime wants one
        for _ in range(change[2]):
            kind.shape.dim.add()
    del body.node[:]
    body.node.extend(nodes)
    names = [value.name for value in graph.output]
    made = {name: name if ranks[name] else f"{name}{_INSIDE}/column" for name in names}
    scan = helper.make_node(
        "Scan",
        list(inputs),
        list(made.values()),
        name="rows",
        body=body,
        num_scan_inputs=len(inputs),
        scan_input_axes=[axis or 0 for axis in inputs.values()],
        scan_output_axes=[outputs[name] or 0 for name in names],
    )
    del graph.node[:], graph.initializer[:], graph.sparse_initializer[:], graph.value_info[:], graph.input[:]
    graph.node.append(scan)
    for name in names:
        if name != made[name]:
            graph.node.extend(_change_rank("Squeeze", made[name], name, 1, opset))
    graph.input.extend(_with_batch(given[name], axis) for name, axis in inputs.items())
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return result


def output_batches(
    shapes: Mapping[str, tuple[int, ...]], roles: Roles, inputs: Sequence[OpenInput], batches: Batches
) -> dict[str, int | None]:
    """Choose the axis of each result of one row that becomes the batch.

    It is of size 1, and where the user says; where it is in the input that the result continues as; or where the batch
    usually is.

    Args:
        shapes: Shapes of the results for one row.
        roles: Roles that the user gives.
        inputs: Inputs of the file.
        batches: Axis of each input that is the batch.

    Raises:
        WrongArguments: If the user names an axis that has another size.
    """
    chosen: dict[str, int | None] = {}
    for name, shape in shapes.items():
        by_user = [at for at in range(len(shape)) if roles.axes.get((name, at)) == BATCH]
        if by_user and shape[by_user[0]] != 1:
            raise WrongArguments(
                f"--axis {name}.{by_user[0]}={BATCH}: for one row this axis is {shape[by_user[0]]}, not 1"
            )
        before = [each for each in inputs if each.dims == shape and _continues(name, each.name, roles)]
        if not by_user and len(before) == 1:
            chosen[name] = batches[before[0].name]
            continue
        usual = [at for at in ((1, 0) if len(shape) == 3 and shape[0] != 1 else (0,)) if at < len(shape)]
        ones = [*by_user, *(at for at in usual if shape[at] == 1)]
        chosen[name] = ones[0] if ones else None
    return chosen


def _continues(output: str, name: str, roles: Roles) -> bool:
    """Whether an output is what an input is in the next step: as the user says, or as their names do."""
    if output in roles.states:
        return roles.states[output] == name
    return bool(name_stem(name)) and name_stem(name) == name_stem(output)


def _with_batch(value: onnx.ValueInfoProto, axis: int | None) -> onnx.ValueInfoProto:
    made = onnx.ValueInfoProto()
    made.CopyFrom(value)
    dims = list(value.type.tensor_type.shape.dim)
    batch = onnx.TensorShapeProto.Dimension(dim_param=BATCH)
    shape = made.type.tensor_type.shape
    shape.ClearField("dim")
    shape.dim.extend([batch, *dims] if axis is None else [*dims[:axis], batch, *dims[axis + 1 :]])
    return made


def _change_rank(operator: str, given: str, made: str, axis: int | None, opset: int) -> list[onnx.NodeProto]:
    """Add the batch axis, or remove it; with no such axis the tensor stays as it is, under the other name."""
    name = f"{operator} {made}"
    if axis is None:
        return [helper.make_node("Identity", [given], [made], name=name)]
    if opset < _AXES_ARE_INPUTS:
        return [helper.make_node(operator, [given], [made], name=name, axes=[axis])]
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [axis])
    return [
        helper.make_node("Constant", [], [f"{made}/axes/{operator}"], value=axes, name=f"{name} axes"),
        helper.make_node(operator, [given, f"{made}/axes/{operator}"], [made], name=name),
    ]
