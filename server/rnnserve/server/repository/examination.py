"""What a repository would serve, by its files alone: which versions its configs choose, and whether these are whole.

Nothing is loaded or run: that a version gives its golden results on this machine is found when a server tries it.
"""

import dataclasses

from rnnserve.protos import manifest_pb2, model_config_pb2
from rnnserve.protos.artifact import read_version
from rnnserve.protos.triton_config import check_tensors
from rnnserve.server.repository.draft import Draft
from rnnserve.server.repository.folders import check_name
from rnnserve.server.repository.load_words import reason_of

__all__ = ["ExaminedModel", "examine"]


@dataclasses.dataclass(frozen=True)
class ExaminedModel:
    """A model as its folder is now.

    Attributes:
        name: Its name.
        serves: Versions that would be loaded, newest first.
        found: All versions that its folder has, oldest first.
        faults: What keeps a version out, by its number; by 0 what keeps out the whole model.
        refused: Why a version is not signed as it has to be, by its number, whether it is wanted or not.
    """

    name: str
    serves: tuple[int, ...]
    found: tuple[int, ...]
    faults: dict[int, str]
    refused: dict[int, str]


def examine(models: Draft, *, allow_unproven: bool) -> list[ExaminedModel]:
    """Look at every model.

    Args:
        models: The models, of which nothing has been loaded.
        allow_unproven: Whether versions may serve that were adopted and not compared with their framework.
    """
    return [_examined(models, name, allow_unproven=allow_unproven) for name in models.models()]


def _examined(models: Draft, name: str, *, allow_unproven: bool) -> ExaminedModel:
    serves: list[int] = []
    faults: dict[int, str] = {}
    found: tuple[int, ...] = ()
    try:
        found = tuple(models.found(name))
        models.check_links(name)
        config = models.config(name)
        chosen, wanted = models.chosen(name, config)
    except Exception as error:  # noqa: BLE001 - whatever one model's folder holds, the others are looked at
        return ExaminedModel(name, (), found, {0: reason_of(error)}, _refused(models, name, found))
    for number in chosen:
        if len(serves) == wanted:
            break
        try:
            fault = _fault(models, name, number, config, allow_unproven=allow_unproven)
        except Exception as error:  # noqa: BLE001 - as above
            fault = reason_of(error)
        if fault:
            faults[number] = fault
        else:
            serves.append(number)
    return ExaminedModel(name, tuple(serves), found, faults, _refused(models, name, found))


def _refused(models: Draft, name: str, found: tuple[int, ...]) -> dict[int, str]:
    return {number: reason for number in found if (reason := models.signed.refusal(name, number))}


def _fault(models: Draft, name: str, number: int, config: model_config_pb2.ModelConfig, *, allow_unproven: bool) -> str:
    """What keeps a version out; empty where nothing in its files does.

    Raises:
        ArtifactError: If its files cannot be trusted.
    """
    models.check_links(name, number)
    refusal = models.refusal(name, number, ())
    if refusal:
        return refusal
    signed = models.signed.files(name, number)
    manifest = read_version(
        models.folders.of(name) / str(number), keep=(), inside=models.inside, signed=signed
    ).manifest
    if models.folders.only is None:
        check_name(manifest, name)
    check_tensors(config, manifest.inputs, manifest.outputs)
    if manifest.origin == manifest_pb2.ORIGIN_ADOPTED and not allow_unproven:
        return "was adopted from an ONNX file, and not compared with its framework: serve it with --allow-unproven"
    return ""
