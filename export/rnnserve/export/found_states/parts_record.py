"""What a published version says of parts of sequences, found again in its files."""

from collections.abc import Mapping

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.found_states.parts_file import PartsFile, find_parts
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.tensors import size_limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, MODEL, PARTS, Version
from rnnserve.protos.recorded_defaults import load_defaults

__all__ = ["find_parts_of", "parts_failures"]

_LARGEST = 64  # steps or rows that are drawn, where the model takes any number


def parts_failures(version: Version) -> list[str]:
    """Find again what a version says of parts of sequences; what has changed since, a sentence each.

    Nothing is found of versions that do not say it, nor of such as were made of a file that is not there.
    """
    manifest = version.manifest
    if not manifest.HasField("parts"):
        return []
    served = manifest.parts.made_of or manifest.graph.file or MODEL
    if served not in version.files:
        return [f"{MANIFEST}: {PARTS} is made of {served}, which there is not"]
    found = find_parts_of(manifest, version.files, served)
    reason = "" if found.record is None else found.record.reason
    if bool(reason) != bool(manifest.parts.reason) or bool(found.data) != bool(manifest.parts.file):
        said, now = manifest.parts.reason or "may be cut", reason or "may be cut"
        return [f'{MANIFEST}: says "{said}" of its sequences, but found "{now}"']
    counting = "" if found.record is None else found.record.not_continued
    if counting and not manifest.parts.not_continued:
        return [f'{MANIFEST}: says that sequences may go on from declared states, but found "{counting}"']
    if found.data is not None and found.data != version.files.get(PARTS):
        return [f"{PARTS}: is another graph than the one that is found in {served}"]
    return []


def find_parts_of(manifest: manifest_pb2.Manifest, files: Mapping[str, bytes], served: str) -> PartsFile:
    """Find what a version's graph carries from step to step, expose it, and try the result.

    Args:
        manifest: Manifest of the version, which describes its tensors.
        files: Files of the version, by name.
        served: Name of the file of the graph that serves.
    """
    limits = size_limits(manifest.inputs)
    return find_parts(
        ModelDescription(
            name=manifest.model,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            labels=manifest.labels,
            samples=(),
            sizes={axis: (low, high or max(low, _LARGEST)) for axis, (low, high) in limits.items()},
            checkpoint_sha256=manifest.checkpoint_sha256,
            allow_non_finite=manifest.finiteness.allowed,
            defaults=load_defaults(files, manifest.inputs),
        ),
        served,
        files,
        OnnxRunner,
    )
