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
        yield (
            "clients must send sequences whole, because a sequence cannot continue from declared states: "
            f"{parts.not_continued}"
        )
        return
    if parts.reason and declared:
        yield f"a server does not split sequences itself: {parts.reason}"
        yield f"the server's load check decides whether a request can continue from {', '.join(declared)}"
        return
    if parts.reason:
        yield f"sequences are served whole: {parts.reason}"
        return
    found = [f'"{tensor.name}"' for tensor in parts.inputs]
    kept = [f"{', '.join(names)}, {how}" for names, how in ((declared, "declared"), (found, "inferred")) if names]
    yield f"clients can send sequences in parts; states between parts: {'; '.join(kept) or 'none'}"
    yield f"a step depends on other steps only through these states: {finding_in_words(parts.steps)}"
