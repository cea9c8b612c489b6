"""What running a version has shown, where it is tried; taken over where it is loaded to serve."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from rnnserve.server.batching.planning import Cost
from rnnserve.server.repository.graph_choice import GraphChoice

__all__ = ["Findings"]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What running a version has shown, beyond that its golden results come out right.

    Attributes:
        digest: Of the version's manifest, and so of the bytes that were run.
        graph: Which graph serves; all else was found of this one.
        cost: What a run costs on this machine.
        batch_invariant: Whether the bits of an answer were found not to depend on the other requests in its batch.
        trims_outputs: Whether outputs have no more steps than the longest length, where lengths are shorter than the
            inputs.
        continues: Whether sequences that are cut, each part continuing from the states of the one before, were found
            to give the answers of the whole, but for rounding.
        is_cut: Whether steps after the longest length may be left out, as the manifest says.
        why_not_in_parts: Why the server may not keep the states of its sequences; empty where it may: then all answers
            are the same bits.
        goes_by_steps: Whether requests that were run by steps, while others joined and left, gave the bits of whole
            runs.
        shares_session: Whether whole requests have the same bits on the graph of parts, whose session then runs both.
        parts: The same of the graph that runs the parts of sequences, where that is another one.
    """

    digest: str
    graph: GraphChoice
    cost: Cost
    batch_invariant: bool
    trims_outputs: bool
    continues: bool
    is_cut: bool
    why_not_in_parts: str
    goes_by_steps: bool = False
    shares_session: bool = False
    parts: "Findings | None" = None

    @property
    def bits_kept(self) -> tuple[bool, bool, bool]:
        """What is promised of an answer's bits, the most important first."""
        return self.batch_invariant, not self.why_not_in_parts, self.is_cut

    @property
    def may_keep_more_bits(self) -> bool:
        """Whether another graph may promise more: what a bidirectional model cannot do, no graph can."""
        return not self.batch_invariant or not self.is_cut or (self.continues and bool(self.why_not_in_parts))

    def as_fields(self) -> dict[str, Any]:
        """Give what JSON takes; `from_fields` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `as_fields` has given."""
        graph, cost = GraphChoice.from_fields(fields["graph"]), Cost(**fields["cost"])
        parts = cls.from_fields(fields["parts"]) if fields["parts"] else None
        return cls(**{**fields, "graph": graph, "cost": cost, "parts": parts})
