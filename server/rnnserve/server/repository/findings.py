"""What running a version has shown, where it is tried; taken over where it is loaded to serve."""

import dataclasses

from rnnserve.server.batching.cost import Cost

__all__ = ["Findings"]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What running a version has shown, beyond that its golden results come out right.

    Attributes:
        digest: Of the version's manifest, and so of the bytes that were run.
        cost: What a run costs on this machine.
        batch_invariant: Whether the bits of an answer were found not to depend on the other requests in its batch.
        trims_outputs: Whether outputs have no more steps than the longest length, where lengths are shorter than the
            inputs.
        continues: Whether a sequence that is cut in two, the second part continuing from the states of the first, was
            found to give the answers of the whole.
        is_cut: Whether steps after the longest length may be left out, as the manifest says.
    """

    digest: str
    cost: Cost
    batch_invariant: bool
    trims_outputs: bool
    continues: bool
    is_cut: bool
