"""Load and save ONNX models: convert between the bytes of a file and `ir.Model`, which the passes modify."""

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from rnnserve.export.errors import WrongArguments

__all__ = ["load_model", "load_proto", "read_onnx", "save_model", "save_proto"]

_LARGEST = 2**31 - 1
"""The largest protobuf message, in bytes."""


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


def read_onnx(path: Path) -> ir.Model:
    """Read an ONNX file, with weights that are in other files in its folder, and check that it is valid ONNX."""
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
    for value in model.graph.output:  # onnx_ir doesn't read maps
        if value.type.HasField("map_type") or value.type.sequence_type.elem_type.HasField("map_type"):
            raise WrongArguments(
                f'{path}: output "{value.name}" is a map, but requests have tensors. Convert the model again without '
                'ZipMap: options={"zipmap": False} of skl2onnx, zipmap=False of onnxmltools'
            )
    outside = [path.parent / name for name in _external_files(model)]
    if sum(file.stat().st_size for file in outside if file.is_file()) > _LARGEST:
        raise WrongArguments(
            f"{path} has more than 2 GiB of weights in {outside[0].name}; a version has a single ONNX file, of at most "
            "2 GiB. Import a smaller model"
        )
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise WrongArguments(f"{path} is not a valid ONNX model: {' '.join(str(error).split())}") from error
    return ir.from_proto(model)


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
