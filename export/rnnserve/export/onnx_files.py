"""Load and save ONNX models: convert between the bytes of a file and `ir.Model`, which the passes modify."""

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from rnnserve.export.errors import WrongArguments

__all__ = ["load_model", "load_proto", "read_onnx", "save_model", "save_proto"]


def load_model(data: bytes) -> ir.Model:
    """Load a model from the bytes of a file."""
    return ir.from_proto(load_proto(data))


def load_proto(data: bytes) -> onnx.ModelProto:
    """Load a model from the bytes of a file as a protobuf message."""
    return onnx.load_model_from_string(data)


def save_model(model: ir.Model) -> bytes:
    """Return the bytes of a model's file. Equal models have equal bytes."""
    return save_proto(ir.to_proto(model))


def save_proto(model: onnx.ModelProto) -> bytes:
    """Return the bytes of a message's file. Equal messages have equal bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def read_onnx(path: Path, *, external_data: bool) -> onnx.ModelProto:
    """Read an ONNX file and check that it is valid ONNX.

    With `external_data`, weights are also read from other files in the folder. Without it, such a model is an error.
    """
    if not path.is_file():
        raise WrongArguments(f"there is no file {path}")
    try:
        model = load_proto(path.read_bytes())
    except DecodeError:
        raise WrongArguments(f"{path} is not an ONNX model") from None
    if not model.graph.node:
        raise WrongArguments(f"{path} is not an ONNX model, or has no nodes")
    if model.graph.sparse_initializer:  # onnx_ir drops them
        raise WrongArguments(f"{path} keeps weights as sparse tensors. Save it with dense weights")
    outside = _external_files(model)
    if outside and not external_data:
        raise WrongArguments(
            f"{path} keeps weights outside the file, in {', '.join(outside)}, but a version has one model file. Save "
            "it with onnx.save(onnx.load(path), path, save_as_external_data=False)"
        )
    try:
        if outside:
            onnx.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise WrongArguments(f"{path} is not a valid ONNX model: {' '.join(str(error).split())}") from error
    return model


def _external_files(model: onnx.ModelProto) -> list[str]:
    return sorted(
        {
            entry.value
            for tensor in onnx.external_data_helper._get_all_tensors(model)  # noqa: SLF001 - initializers and attributes, also in subgraphs
            if tensor.data_location == onnx.TensorProto.EXTERNAL
            for entry in tensor.external_data
            if entry.key == "location"
        }
    )
