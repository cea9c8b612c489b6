"""What a published version says of parts of sequences, found again in its files."""

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.tensor_shapes import size_limits
from rnnserve.protos.artifact import MANIFEST, MODEL, PARTS, Version
from rnnserve.protos.recorded_defaults import load_defaults

__all__ = ["parts_failures"]

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
    limits = size_limits(manifest.inputs)
    found = find_parts(
        ModelDescription(
            name=manifest.model,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            labels=manifest.labels,
            labelled="",
            samples=(),
            sizes={axis: (low, high or max(low, _LARGEST)) for axis, (low, high) in limits.items()},
            checkpoint_sha256=manifest.checkpoint_sha256,
            allow_non_finite=manifest.finiteness.allowed,
            defaults=load_defaults(version.files, manifest.inputs),
        ),
        served,
        version.files[served],
        OnnxRunner,
    )
    reason = "" if found.record is None else found.record.reason
    if bool(reason) != bool(manifest.parts.reason) or bool(found.data) != bool(manifest.parts.file):
        said, now = manifest.parts.reason or "may be cut", reason or "may be cut"
        return [f'{MANIFEST}: says "{said}" of its sequences, but found "{now}"']
    if found.data is not None and found.data != version.files.get(PARTS):
        return [f"{PARTS}: is another graph than the one that is found in {served}"]
    return []
