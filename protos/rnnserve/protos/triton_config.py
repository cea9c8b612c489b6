"""A model's config.pbtxt, Triton's ModelConfig: reading it, its rules, and which versions it lets serve.

Triton, our server and `rnnserve export` read the same file. Messages hold no path, since servers send them to clients.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from google.protobuf import text_format

from rnnserve.common.regular_files import LeadsOutError, read_regular
from rnnserve.protos import manifest_pb2, model_config_pb2
from rnnserve.protos.artifact import ArtifactError

__all__ = ["CONFIG", "ConfigError", "MissingConfigError", "check_tensors", "read_config", "versions_to_serve"]

CONFIG = "config.pbtxt"

_MOST_BYTES = 1 << 20
"""Bytes of config.pbtxt. Beyond it: UNAVAILABLE."""

_Declared = tuple[str, str, tuple[int, ...]]  # name, datatype as in the Open Inference Protocol, sizes of the axes


class ConfigError(ArtifactError):
    """An unusable config.pbtxt. The message begins with the file's name."""


class MissingConfigError(ConfigError):
    """The model's folder has no config.pbtxt."""


def read_config(
    folder: Path,
    inside: Path | None = None,
    only: str | None = None,
    check: Callable[[bytes], object] = lambda _: None,
) -> model_config_pb2.ModelConfig:
    """Read `<folder>/config.pbtxt`, and fill in the model's name if it is missing.

    Args:
        folder: `<repository>/<model>`.
        inside: Folder that must contain the file, after all links. None: anywhere.
        only: The model's name, which overrides the folder's and the file's. None for the folder's name.
        check: Function to call with the file's bytes before parsing. Its exceptions propagate.

    Raises:
        MissingConfigError: If the file doesn't exist.
        ConfigError: If it cannot be read, is not a ModelConfig, or names another model than its folder.
    """
    try:
        data = read_regular(folder / CONFIG, _MOST_BYTES, inside)
    except FileNotFoundError:
        raise MissingConfigError(f"{CONFIG}: is missing; `rnnserve export` writes it") from None
    except LeadsOutError as error:
        raise ConfigError(f"{CONFIG}: {error.strerror}") from error
    except OSError as error:
        raise ConfigError(f"{CONFIG}: cannot be read: {error.strerror}") from error
    check(data)
    try:
        config = text_format.Parse(data.decode(), model_config_pb2.ModelConfig())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{CONFIG}: cannot be read: {error}") from error
    except text_format.ParseError as error:
        raise ConfigError(f"{CONFIG}: is not a valid Triton ModelConfig: line {error}") from error
    if not only and config.name not in ("", folder.name):
        raise ConfigError(f'{CONFIG}: names the model "{config.name}", but is in the folder of "{folder.name}"')
    config.name = only or folder.name
    return config


def check_tensors(
    config: model_config_pb2.ModelConfig,
    inputs: Sequence[manifest_pb2.Tensor],
    outputs: Sequence[manifest_pb2.Tensor],
) -> None:
    """Compare the tensors of a config with a version's tensors.

    Args:
        config: Result of `read_config`.
        inputs: Inputs of the manifest, in its order.
        outputs: Outputs of the manifest, in its order.

    Raises:
        ConfigError: If they differ in name, datatype, size of an axis, or order. States that Triton would keep aren't
            inputs.
    """
    if config.max_batch_size != 0:
        raise ConfigError(
            f"{CONFIG}: max_batch_size is {config.max_batch_size}, expected 0, because its dims are whole shapes. "
            "If the file was written for Triton, publish into another repository"
        )
    kept = {state.input_name for state in config.sequence_batching.state}
    _compare("input", config.input, [tensor for tensor in inputs if tensor.name not in kept])
    _compare("output", config.output, outputs)


def versions_to_serve(config: model_config_pb2.ModelConfig, versions: Iterable[int]) -> tuple[list[int], int]:
    """Apply the config's version policy; without one, the latest version serves.

    Args:
        config: Result of `read_config`.
        versions: The numbers of the existing versions.

    Returns:
        The versions that may serve, newest first, which is the order to load them. And how many should serve.
    """
    policy = config.version_policy
    newest_first = sorted(versions, reverse=True)
    match policy.WhichOneof("policy_choice"):
        case "all":
            return newest_first, len(newest_first)
        case "specific":
            chosen = [version for version in newest_first if version in policy.specific.versions]
            return chosen, len(chosen)
        case _:
            return newest_first, policy.latest.num_versions or 1  # proto3 reads a number left out as 0


def _compare(
    kind: str,
    declared: Iterable[model_config_pb2.ModelInput | model_config_pb2.ModelOutput],
    tensors: Sequence[manifest_pb2.Tensor],
) -> None:
    found: list[_Declared] = [(tensor.name, _datatype(tensor.data_type), tuple(tensor.dims)) for tensor in declared]
    expected = [(tensor.name, tensor.datatype, tuple(axis.size for axis in tensor.axes)) for tensor in tensors]
    if found != expected:
        raise ConfigError(
            f"{CONFIG}: the {kind}s do not match the model: it has {_listed(found)}; expected, in this order, "
            f"{_listed(expected)}. If the model has changed, publish it under another name. "
            "Otherwise correct the file, or remove it and publish again"
        )


def _datatype(number: int) -> str:
    if number not in model_config_pb2.DataType.values():  # the text format takes any number
        return f"type {number}"
    return model_config_pb2.DataType.Name(model_config_pb2.DataType.ValueType(number)).removeprefix("TYPE_")


def _listed(tensors: Iterable[_Declared]) -> str:
    return ", ".join(f'"{name}" {datatype} {list(sizes)}' for name, datatype, sizes in tensors) or "none"
