"""The content of a version's files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.cli.inspection.signature_record import UNSIGNED, SignatureRecord, read_signature
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.triton_config import read_config, versions_to_serve

if TYPE_CHECKING:
    from rnnserve.protos.signing.keys import PublicKey

__all__ = ["VersionRecord", "read_record"]


@dataclasses.dataclass(frozen=True)
class VersionRecord:
    """A version of a model.

    Attributes:
        model: The model's name.
        number: The version's number.
        folder: `<repository>/<model>/<version>`.
        manifest: Its manifest. None if the files can't be trusted.
        problem: The mistake in its files, or empty.
        is_chosen: Whether config.pbtxt lets it serve.
        signature: Its signature.
    """

    model: str
    number: int
    folder: Path
    manifest: manifest_pb2.Manifest | None
    problem: str
    is_chosen: bool
    signature: SignatureRecord = UNSIGNED

    @property
    def is_imported(self) -> bool:
        """Whether it was imported from an ONNX file, without a comparison with its framework."""
        return self.manifest is not None and self.manifest.origin == manifest_pb2.ORIGIN_ADOPTED


def read_record(folder: Path, keys: "Sequence[PublicKey]" = ()) -> VersionRecord:
    """Read a version, and verify its files' digests. The record has the mistake, if any.

    Args:
        folder: `<repository>/<model>/<version>`.
        keys: Trusted keys. Without keys, the signature isn't verified.
    """
    number = int(folder.name)
    signature = read_signature(folder, keys)
    try:
        manifest = read_version(folder).manifest
        chosen = _is_chosen(folder.parent, number)
    except ArtifactError as error:
        return VersionRecord(folder.parent.name, number, folder, None, str(error), is_chosen=False, signature=signature)
    return VersionRecord(folder.parent.name, number, folder, manifest, "", chosen, signature)


def _is_chosen(model: Path, number: int) -> bool:
    numbers = [int(path.name) for path in model.iterdir() if path.is_dir() and path.name.isdecimal()]
    newest_first, count = versions_to_serve(read_config(model), numbers)
    return number in newest_first[:count]
