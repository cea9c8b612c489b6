"""A model's config.pbtxt, with which Triton and our own server read the same repository."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format

from rnnserve.protos import manifest_pb2, model_config_pb2
from rnnserve.protos.artifact import ArtifactError

__all__ = ["CONFIG", "check_config", "render_config", "write_config"]

CONFIG = "config.pbtxt"

_Tensors = Sequence[manifest_pb2.Tensor]
_Form = tuple[str, str, tuple[int, ...]]


def render_config(name: str, inputs: _Tensors, outputs: _Tensors) -> str:
    """Write the config of a model: `dims` are whole shapes, -1 where a request chooses."""
    lines = [
        f"# Written by `rnnserve export`, and left alone from then on: edit it, but for the tensors of {name}.",
        f'name: "{name}"',
        'platform: "onnxruntime_onnx"',
        "",
        "# 0, since h_0 has its batch on axis 1 and Triton would put it on axis 0: the dims below are whole shapes.",
        "max_batch_size: 0",
    ]
    for tensor in inputs:
        optional = tensor.default != manifest_pb2.DEFAULT_REQUIRED
        lines += _block("input", tensor, ["optional: true"] if optional else [])
    for tensor in outputs:
        lines += _block("output", tensor, [])
    lines += ["", "version_policy { latest { num_versions: 1 } }"]
    return "\n".join(lines) + "\n"


def check_config(folder: Path, inputs: _Tensors, outputs: _Tensors) -> bool:
    """Hold `<folder>/config.pbtxt`, where there is one, against the tensors of a version of that model.

    Returns:
        Whether there is one.

    Raises:
        ArtifactError: If it cannot be read, or is of another model or other tensors.
    """
    try:
        text = (folder / CONFIG).read_bytes().decode()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{CONFIG}: cannot be read: {error}") from error
    except text_format.ParseError as error:
        raise ArtifactError(f"{CONFIG}: is no ModelConfig of Triton: line {error}") from error
    if config.name not in ("", folder.name):
        raise ArtifactError(f'{CONFIG}: names the model "{config.name}", but lies in the folder of "{folder.name}"')
    if config.max_batch_size != 0:
        raise ArtifactError(
            f"{CONFIG}: max_batch_size is {config.max_batch_size}, expected 0: its dims are whole shapes, and h_0 has "
            "its batch on axis 1"
        )
    _compare("input", [_declared(tensor) for tensor in config.input], inputs)
    _compare("output", [_declared(tensor) for tensor in config.output], outputs)
    return True


def write_config(folder: Path, text: str) -> Path:
    """Put the text at `<folder>/config.pbtxt`, whole or not at all."""
    temporary = folder / f".{CONFIG}-{secrets.token_hex(8)}"
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return temporary.replace(folder / CONFIG)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _block(kind: str, tensor: manifest_pb2.Tensor, more: list[str]) -> list[str]:
    sizes = ", ".join(str(axis.size) for axis in tensor.axes)
    fields = [
        f'name: "{tensor.name}"',
        f"data_type: TYPE_{tensor.datatype}",
        f"dims: [ {sizes} ]  # {', '.join(axis.name for axis in tensor.axes)}",
        *more,
    ]
    return ["", f"{kind} {{", *(f"  {field}" for field in fields), "}"]


def _declared(tensor: model_config_pb2.ModelInput | model_config_pb2.ModelOutput) -> _Form:
    return tensor.name, model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_"), tuple(tensor.dims)


def _compare(kind: str, found: list[_Form], tensors: _Tensors) -> None:
    expected = [(tensor.name, tensor.datatype, tuple(axis.size for axis in tensor.axes)) for tensor in tensors]
    if found != expected:
        raise ArtifactError(
            f"{CONFIG}: its {kind}s do not fit the model: it has {_listed(found)}; expected, in this order, "
            f"{_listed(expected)}; correct it, or remove it and `rnnserve export` writes a new one"
        )


def _listed(forms: list[_Form]) -> str:
    return ", ".join(f'"{name}" {datatype} {list(dims)}' for name, datatype, dims in forms) or "none"
