"""The inputs of an ONNX file, described as a manifest does; and the file with the axis names of the description."""

from collections.abc import Mapping, Sequence

import onnx

from rnnserve.export.adoption.integer_ranges import LENGTHS, integer_range, range_question
from rnnserve.export.adoption.open_axes import check_frozen
from rnnserve.export.adoption.questions import ask
from rnnserve.export.adoption.roles import Roles
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.errors import WrongArguments
from rnnserve.export.onnx_files import model_inputs
from rnnserve.export.tensor_shapes import sequence_axes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES, datatype_of
from rnnserve.protos.protocol_words import BATCH

__all__ = [
    "check_kind",
    "check_names",
    "choose_outputs",
    "constant_inputs",
    "describe_inputs",
    "name_output_axes",
    "write_axis_names",
]

_Tensors = Sequence[manifest_pb2.Tensor]

_WEIGHTS_APART = 4  # the IR version since which initializers need not be inputs
_SHOWN = 5  # names, of what may be all weights


def choose_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Keep only the outputs named, in their order; all of them where there are no names.

    Raises:
        WrongArguments: If there is no such output.
    """
    by_name = {value.name: value for value in model.graph.output}
    for name in names:
        if name not in by_name:
            raise WrongArguments(f'there is no output "{name}"; the outputs are {", ".join(by_name)}')
    if names:
        chosen = [by_name[name] for name in names]
        del model.graph.output[:]
        model.graph.output.extend(chosen)


def constant_inputs(model: onnx.ModelProto) -> str:
    """Say which inputs have values in the file and so stay as they are; empty where there are none.

    Since IR version 4 such an input is one that a caller may set; before, all weights had to be listed.
    """
    open_names = {value.name for value in model_inputs(model)}
    names = [value.name for value in model.graph.input if value.name not in open_names]
    if not names:
        return ""
    shown = ", ".join(f'"{name}"' for name in names[:_SHOWN])
    if len(names) > _SHOWN:
        shown += f" and {len(names) - _SHOWN} more"
    old = f"; IR version {model.ir_version} lists the weights there, too" if model.ir_version < _WEIGHTS_APART else ""
    return f"onnx: inputs that have values in the file keep these, and no request sets them: {shown}{old}"


def describe_inputs(model: onnx.ModelProto, roles: Roles) -> list[manifest_pb2.Tensor]:
    """Describe the inputs that have no value in the file.

    Args:
        model: The file.
        roles: Roles that the user gives.

    Raises:
        WrongArguments: If the file and the roles do not say enough; the message says what to add.
    """
    values = model_inputs(model)
    check_names(model, roles)
    inputs = [_describe(value, roles) for value in values]
    axes = sequence_axes(inputs)
    for tensor in inputs:
        if DTYPES[tensor.datatype].kind in "iu":
            _find_lengths(tensor, axes, roles)
            if not tensor.lengths_of:
                _find_range(model.graph, tensor, roles)
    return inputs


def name_output_axes(outputs: _Tensors, roles: Roles) -> None:
    """Give fixed axes of outputs the names that the user says.

    Raises:
        WrongArguments: If a dynamic axis would get another name than the axis of the inputs that it is.
    """
    for tensor in outputs:
        for at, axis in enumerate(tensor.axes):
            name = roles.axes.get((tensor.name, at), axis.name)
            if axis.size == DYNAMIC and name != axis.name:
                raise WrongArguments(f'--axis {tensor.name}.{at}={name}: this axis is as large as "{axis.name}"')
            axis.name = name


def write_axis_names(model: onnx.ModelProto, inputs: _Tensors, outputs: _Tensors) -> None:
    """Write the described axes into a file's inputs and outputs, and remove inputs that have a value."""
    described = {tensor.name: tensor for tensor in (*inputs, *outputs)}
    kept = model_inputs(model)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for axis in described[value.name].axes:
            if axis.size == DYNAMIC:
                shape.dim.add(dim_param=axis.name)
            else:
                shape.dim.add(dim_value=axis.size)


def check_names(model: onnx.ModelProto, roles: Roles) -> None:
    """Refuse roles of tensors that there are not: the user would think that they hold.

    Raises:
        WrongArguments: If there are such.
    """
    inputs, outputs = [value.name for value in model_inputs(model)], [value.name for value in model.graph.output]
    given: Sequence[tuple[str, Mapping[str, object] | Sequence[str], Sequence[str]]] = (
        ("--axis", [name for name, _ in roles.axes], [*inputs, *outputs]),
        ("--lengths", roles.lengths, inputs),
        ("--integers", roles.integers, inputs),
        ("--state", list(roles.states.values()), inputs),
        ("--state", roles.states, outputs),
    )
    for option, names, known in given:
        for name in names:
            if name not in known:
                raise WrongArguments(f'{option} names "{name}"; there are {", ".join(known)}')


def check_kind(value: onnx.ValueInfoProto) -> str:
    """Give an input's datatype.

    Raises:
        WrongArguments: If it is none that a request can send, or has no known axes.
    """
    kind = value.type.tensor_type
    try:
        datatype = datatype_of(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except KeyError:
        datatype = None
    if datatype is None:
        shown = onnx.TensorProto.DataType.Name(kind.elem_type).lower() if kind.elem_type else "no tensor"
        raise WrongArguments(f'input "{value.name}" is {shown}; models take booleans, integers and floats')
    if not kind.HasField("shape"):
        raise WrongArguments(f'input "{value.name}" declares no shape; export the file with its axes')
    return datatype


def _describe(value: onnx.ValueInfoProto, roles: Roles) -> manifest_pb2.Tensor:
    kind, datatype = value.type.tensor_type, check_kind(value)
    tensor = manifest_pb2.Tensor(name=value.name, datatype=datatype)
    for at, dim in enumerate(kind.shape.dim):
        given = roles.axes.get((value.name, at), "")
        if dim.HasField("dim_value"):
            if given == BATCH:
                check_frozen(value.name, at, dim.dim_value)
            tensor.axes.add(name=given or f"axis {at}", size=dim.dim_value)
            continue
        name = given or (BATCH if dim.dim_param.lower().startswith(BATCH) else dim.dim_param)
        if not name:
            raise WrongArguments(
                f'axis {at} of input "{value.name}" has no name; say what it is: --axis {value.name}.{at}={BATCH} or '
                f"--axis {value.name}.{at}=sequence"
            )
        tensor.axes.add(name=name, size=DYNAMIC)
    if not any(axis.name == BATCH for axis in tensor.axes):
        axes = [f'{at} ("{axis.name}")' for at, axis in enumerate(tensor.axes) if axis.size == DYNAMIC]
        axes += [f"{at} (always 1)" for at, axis in enumerate(tensor.axes) if axis.size == 1]
        raise WrongArguments(
            f'input "{value.name}" has no axis "{BATCH}"'
            + (
                f": say which axis has the rows: --axis {value.name}.AT={BATCH}, AT of {', '.join(axes)}"
                if axes
                else ""
            )
        )
    return tensor


def _find_lengths(tensor: manifest_pb2.Tensor, axes: Sequence[str], roles: Roles) -> None:
    """Mark an input (batch,) that holds lengths: one that the user names, or one whose name says so."""
    given = roles.lengths.get(tensor.name)
    fits = len(tensor.axes) == 1 and tensor.datatype in ("INT32", "INT64")
    if given is not None:
        if not fits or given not in axes:
            raise WrongArguments(
                f"--lengths {tensor.name}={given}: lengths are INT64 or INT32 of axes (batch), and count the steps "
                f"of a sequence axis; there are {', '.join(axes) or 'none'}"
            )
        tensor.lengths_of = given
    elif fits and LENGTHS.search(tensor.name) and tensor.name not in roles.integers:
        if len(axes) != 1:
            raise WrongArguments(
                f'input "{tensor.name}" may hold lengths, but of which axis? Say --lengths {tensor.name}=AXIS, with '
                f"one of {', '.join(axes) or 'no sequence axis'}; or, if not, --integers {tensor.name}=LOW:HIGH"
            )
        tensor.lengths_of = axes[0]
    if tensor.lengths_of:
        tensor.default = manifest_pb2.DEFAULT_FULL_LENGTH


def _find_range(graph: onnx.GraphProto, tensor: manifest_pb2.Tensor, roles: Roles) -> None:
    """Find which integers an input takes."""
    bounds = integer_range(graph, tensor.name, roles)
    if bounds is None:
        ask([range_question(tensor.name, tensor.datatype)])
    else:
        tensor.integers.low, tensor.integers.high = bounds
