"""Whether sequences of a model may be sent in parts, in words."""

from collections.abc import Iterator

from rnnserve.cli.inspection.findings_in_words import finding_in_words
from rnnserve.protos import manifest_pb2

__all__ = ["parts_in_words"]


def parts_in_words(manifest: manifest_pb2.Manifest) -> Iterator[str]:
    """Describe whether sequences may be cut into parts, the states needed, and how this was found.

    Args:
        manifest: Manifest of the version. Yields nothing if it doesn't record this.
    """
    if not manifest.HasField("parts"):
        return
    parts = manifest.parts
    declared = [f'"{tensor.continues_as}"' for tensor in manifest.outputs if tensor.continues_as]
    if parts.not_continued:
        yield f"sequences are served whole, and go on from no declared state: {parts.not_continued}"
        return
    if parts.reason and declared:
        yield f"a server cuts no sequence by itself: {parts.reason}"
        yield f"whether a request may continue from {', '.join(declared)} is found by the server's trial"
        return
    if parts.reason:
        yield f"sequences are served whole: {parts.reason}"
        return
    found = [f'"{tensor.name}"' for tensor in parts.inputs]
    kept = [f"{', '.join(names)}, {how}" for names, how in ((declared, "declared"), (found, "found")) if names]
    yield f"sequences may be sent in parts; what is kept between them: {'; '.join(kept) or 'nothing'}"
    yield f"a step depends on others by these alone: {finding_in_words(parts.steps)}"
