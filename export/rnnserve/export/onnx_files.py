"""Reading ONNX files that others wrote."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from rnnserve.export.errors import WrongArguments

__all__ = ["model_inputs", "read_onnx"]


def read_onnx(path: Path, *, external_data: bool) -> onnx.ModelProto:
    """Read an ONNX file and check that it is valid ONNX.

    Args:
        path: The file.
        external_data: Whether to read weights that lie in files beside it; otherwise such a model is refused.

    Raises:
        WrongArguments: If it is no valid ONNX model, or has external data that is refused or missing.
        OSError: If it cannot be read.
    """
    if not path.is_file():
        raise WrongArguments(f"there is no file {path}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        raise WrongArguments(f"{path} is no ONNX model") from None
    if not model.graph.node:
        raise WrongArguments(f"{path} is no ONNX model, or has no nodes")
    outside = _external_files(model)
    if outside and not external_data:
        raise WrongArguments(
            f"{path} keeps weights outside the file, in {', '.join(outside)}; a version has one model file: save it "
            "with onnx.save(onnx.load(path), path, save_as_external_data=False)"
        )
    try:
        if outside:
            onnx.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise WrongArguments(f"{path} is no valid ONNX model: {' '.join(str(error).split())}") from error
    return model


def model_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """List a model's inputs without those that have a value in the file."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _external_files(model: onnx.ModelProto) -> list[str]:
    return sorted(
        {
            entry.value
            for tensor in onnx.external_data_helper._get_all_tensors(model)  # noqa: SLF001 - initializers and attributes, of subgraphs too
            if tensor.data_location == onnx.TensorProto.EXTERNAL
            for entry in tensor.external_data
            if entry.key == "location"
        }
    )
