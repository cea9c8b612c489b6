"""Which graph of a version serves.

`native` is model.onnx, with ONNX's own recurrent operators; `scan` is model.scan.onnx, with loops in the place of RNN
operators. They differ in speed, and in the last bits of their results. So the choice is in the manifest, or follows
from the files: the bits of an answer depend neither on traffic nor on the server that gives it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from rnnserve.protos.artifact import MANIFEST, MODEL, SCAN, ArtifactError, Version
from rnnserve.protos.serving_graph import choose_file

__all__ = ["AUTO", "FILES", "NATIVE", "SCANNED", "GraphChoice", "choose_graph"]

AUTO, NATIVE, SCANNED = "auto", "native", "scan"
"""What may be asked for, as `Settings.graph`."""

FILES = {NATIVE: MODEL, SCANNED: SCAN}
"""The file of each graph."""

_NAMES = {file: name for name, file in FILES.items()}


@dataclasses.dataclass(frozen=True)
class GraphChoice:
    """The graph that serves.

    Attributes:
        name: `NATIVE` or `SCANNED`.
        reason: Why it was chosen, from "since" on.
    """

    name: str
    reason: str

    @property
    def file(self) -> str:
        """The name of the file that serves."""
        return FILES[self.name]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` has given."""
        return cls(**fields)

    def __str__(self) -> str:
        return f"graph {self.name}, {self.reason}"


def choose_graph(asked: str, artifact: Version, device: str) -> GraphChoice:
    """Choose the graph of a version.

    Args:
        asked: `AUTO`, `NATIVE` or `SCANNED`.
        artifact: The version, with the bytes of its graphs.
        device: "cpu" or "cuda".

    Raises:
        ArtifactError: If the manifest names a graph that there is not.
    """
    if asked == NATIVE:
        return GraphChoice(NATIVE, "since --graph native asks for it")
    if device != "cpu":
        return GraphChoice(NATIVE, "since it runs on CUDA, and scan is for the CPU")
    if SCAN not in artifact.files:
        return GraphChoice(NATIVE, f"since it has no {SCAN}")
    if asked == SCANNED:
        return GraphChoice(SCANNED, "since --graph scan asks for it")
    decided = artifact.manifest.graph
    file, reason = (decided.file, decided.reason) if decided.file else choose_file(artifact.files[MODEL])
    if file not in _NAMES:
        raise ArtifactError(f'{MANIFEST}: lets "{file}" serve, which is no graph: expected {MODEL} or {SCAN}')
    return GraphChoice(_NAMES[file], f"since {reason}")
