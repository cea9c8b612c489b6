"""The input and the result of a load check: which graph of a version serves, and which properties its runs have.

`native` is model.onnx, with ONNX's own recurrent operators; `scan` is model.scan.onnx, with loops instead of RNN
operators. They differ in speed, and in the last bits of their results. The manifest records the choice, or the files
determine it, so the bits of a response depend neither on the traffic nor on the server that computes it.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from rnnserve.protos.artifact import MANIFEST, MODEL, SCAN, ArtifactError, Version
from rnnserve.protos.serving_graph import choose_file
from rnnserve.server.batching.execution import Cost

__all__ = ["AUTO", "FILES", "NATIVE", "SCANNED", "Findings", "GraphChoice", "LoadCheck", "choose_graph"]

AUTO, NATIVE, SCANNED = "auto", "native", "scan"  # the choices of `Settings.graph`

FILES = {NATIVE: MODEL, SCANNED: SCAN}  # of each graph


@dataclasses.dataclass(frozen=True)
class LoadCheck:
    """A version to load, and its limits. Fields mean the same as in `Settings`, unless a comment adds to it."""

    folder: Path  # of the version
    name: str  # of the model
    version: str  # a number
    device: str = "cpu"  # or "cuda"
    graph: str = AUTO
    allow_unproven: bool = False
    threads: int = 1
    max_bytes: int = 512 << 20  # beyond what its files and further threads take
    seconds: float = 60.0
    inside: Path | None = None  # folder that must contain its files, after all links. None: anywhere
    signed: Mapping[str, str] | None = None  # SHA-256 of its files, by name. None if signatures aren't required
    is_brief: bool = False  # whether its cost is measured by one run of each kind

    def as_json(self) -> bytes:
        """Write it as JSON, which `of_json` reads."""
        return json.dumps(vars(self), default=str).encode()

    @classmethod
    def of_json(cls, text: bytes) -> Self:
        """Read what `as_json` has written."""
        fields = json.loads(text)
        inside = None if fields["inside"] is None else Path(fields["inside"])
        return cls(**{**fields, "folder": Path(fields["folder"]), "inside": inside})


@dataclasses.dataclass(frozen=True)
class GraphChoice:
    """The graph that serves: `NATIVE` or `SCANNED`, and why, from "since" on."""

    name: str
    reason: str

    @property
    def file(self) -> str:
        """The name of the file that serves."""
        return FILES[self.name]

    def __str__(self) -> str:
        return f"graph {self.name}, {self.reason}"


def choose_graph(wanted: str, artifact: Version, device: str) -> GraphChoice:
    """Choose the graph of a version for a device. Raise ArtifactError if the manifest names another file."""
    if wanted == NATIVE:
        return GraphChoice(NATIVE, "since native was asked for")
    if device != "cpu":
        return GraphChoice(NATIVE, "since it runs on CUDA, and scan is for the CPU")
    if SCAN not in artifact.files:
        return GraphChoice(NATIVE, f"since it has no {SCAN}")
    if wanted == SCANNED:
        return GraphChoice(SCANNED, "since scan was asked for")
    decided = artifact.manifest.graph
    file, reason = (decided.file, decided.reason) if decided.file else choose_file(artifact.files[MODEL])
    name = {file: name for name, file in FILES.items()}.get(file)
    if name is None:
        raise ArtifactError(f'{MANIFEST}: names "{file}" as the serving graph; expected {MODEL} or {SCAN}')
    return GraphChoice(name, f"since {reason}")


@dataclasses.dataclass(frozen=True)
class Findings:
    """What running a version has shown, beyond that its golden results come out right."""

    digest: str  # SHA-256 of the version's manifest, which covers the bytes that ran
    graph: GraphChoice  # which graph serves. All other findings are about this graph
    cost: Cost
    batch_invariant: bool  # whether the bits of an answer do not depend on the other requests in its batch
    trims_outputs: bool  # whether outputs have as many steps as the longest length, if the inputs have more
    continues: bool  # whether sequences in parts give the answers of the whole, except for rounding
    is_cut: bool  # whether steps after the longest length may be left out, as the manifest says
    why_not_in_parts: str  # why sequences sent in parts change a response's bits, or empty
    goes_by_steps: bool = False  # whether runs by steps, as others join and leave, give the bits of whole runs
    parts: "Findings | None" = None  # findings for the graph that runs parts of sequences, if it differs

    @property
    def bits_kept(self) -> tuple[bool, bool, bool]:
        """The guarantees for a response's bits, the most important first."""
        return self.batch_invariant, not self.why_not_in_parts, self.is_cut

    @property
    def may_keep_more_bits(self) -> bool:
        """Whether another graph may guarantee more. No graph of a bidirectional model can guarantee parts."""
        return not self.batch_invariant or not self.is_cut or (self.continues and bool(self.why_not_in_parts))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` has made of it."""
        graph, cost = GraphChoice(**fields["graph"]), Cost(**fields["cost"])
        parts = cls.from_fields(fields["parts"]) if fields["parts"] else None
        return cls(**{**fields, "graph": graph, "cost": cost, "parts": parts})
