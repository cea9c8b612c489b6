"""A model's config.pbtxt: the description that Triton reads, too. Here it says which versions serve."""

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.boundary.signature import Signature, TensorSpec

__all__ = ["CONFIG", "check_config", "read_config", "versions_to_serve"]

CONFIG = "config.pbtxt"

_DATA_TYPES = {"FP32": model_config_pb2.TYPE_FP32, "INT64": model_config_pb2.TYPE_INT64}


def read_config(folder: Path) -> model_config_pb2.ModelConfig:
    """Read `<folder>/config.pbtxt`.

    Raises:
        ArtifactError: If it is missing, no ModelConfig, or of a model of another name than the folder's.
    """
    path = folder / CONFIG
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise ArtifactError(f"{CONFIG}: missing; `rnnserve export` writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{CONFIG}: cannot be read: {error}") from error
    config = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise ArtifactError(f"{CONFIG}: line {error}") from error
    if config.name not in ("", folder.name):
        raise ArtifactError(f'{CONFIG}: names the model "{config.name}", but lies in the folder of "{folder.name}"')
    config.name = folder.name
    return config


def check_config(config: model_config_pb2.ModelConfig, signature: Signature) -> None:
    """Hold the tensors that the config declares against the model's own.

    Raises:
        ArtifactError: If they differ.
    """
    _check("input", config.input, signature.inputs.values())
    _check("output", config.output, signature.outputs.values())


def _check(
    kind: str,
    declared: Iterable[model_config_pb2.ModelInput | model_config_pb2.ModelOutput],
    specs: Iterable[TensorSpec],
) -> None:
    found = [(tensor.name, tensor.data_type, tuple(tensor.dims)) for tensor in declared]
    expected = [(spec.name, _DATA_TYPES[spec.datatype], spec.sizes) for spec in specs]
    if found != expected:
        wrong = next((f for f in found if f not in expected), None) or next(e for e in expected if e not in found)
        described = ", ".join(str(spec) for spec in specs)
        raise ArtifactError(
            f'{CONFIG}: the {kind} "{wrong[0]}" is not as in the model, whose {kind}s are, in this order: {described}'
        )


def versions_to_serve(config: model_config_pb2.ModelConfig, versions: list[int]) -> tuple[list[int], int]:
    """Apply the config's version policy; without one, the latest version serves.

    Args:
        config: The model's.
        versions: The versions that there are.

    Returns:
        The versions that may serve, in the order in which to try them, and how many of them are to serve.
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
            return newest_first, policy.latest.num_versions or 1
