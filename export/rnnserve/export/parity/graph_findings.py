"""What a walk through a graph decides of it, as a version's manifest records it."""

import dataclasses
from collections.abc import Mapping, Sequence

import onnx

from rnnserve.export.analysis import Decision, Property, Verdict, decide, worst
from rnnserve.protos import manifest_pb2

__all__ = ["UNDECIDED", "GraphFindings", "contradictions", "finding", "walk_graph"]

Tensors = Sequence[manifest_pb2.Tensor]

_MOST = 20  # nodes, or sentences, that are recorded of one property

UNDECIDED = Decision(Verdict.NOT_DECIDED)


@dataclasses.dataclass(frozen=True)
class GraphFindings:
    """What was decided of a graph, for all values.

    Attributes:
        rows: Whether a row's results depend on no other row.
        padding: Whether they depend on nothing after the row's length; None where not every
            sequence axis has lengths.
        causality: Whether the steps of each output depend on no later ones; empty where there is no sequence axis.
    """

    rows: Decision
    padding: Decision | None
    causality: Mapping[str, Decision]

    def recorded_causality(self) -> dict[str, manifest_pb2.Finding]:
        """Give what a manifest says of causality, which is not tried."""
        return {name: finding(decision, tried=False) for name, decision in self.causality.items()}


def walk_graph(graph: onnx.ModelProto, inputs: Tensors, outputs: Tensors, *, finite_inputs: bool) -> GraphFindings:
    """Walk a model's graph.

    Args:
        graph: The graph.
        inputs: Inputs of the graph, described.
        outputs: Outputs of the graph, described.
        finite_inputs: Whether no input is NaN or infinite: servers refuse these, unless they were allowed.
    """
    found = decide(graph, inputs, outputs, finite_inputs=finite_inputs)
    padding = found.get(Property.PADDING)
    return GraphFindings(
        rows=worst(found[Property.ROWS].values()),
        padding=None if padding is None else worst(padding.values()),
        causality=found.get(Property.CAUSALITY, {}),
    )


def contradictions(recorded: manifest_pb2.Manifest, found: GraphFindings, *, scan: bool) -> list[str]:
    """Name what a manifest says to be proven of a graph and is not, and what it allows although the graph refutes it.

    Args:
        recorded: The manifest.
        found: Decisions of a walk through the graph now.
        scan: Whether it is the graph of model.scan.onnx.
    """
    batching = recorded.batching
    rows, padding = (batching.scan_rows, batching.scan_padding) if scan else (batching.rows, batching.padding)
    claims = [("rows are apart", rows, found.rows), ("padding is not read", padding, found.padding or UNDECIDED)]
    if not scan:
        claims += [
            (f'steps of "{name}" are causal', claim, found.causality.get(name, UNDECIDED))
            for name, claim in recorded.causality.items()
        ]
    failures = [
        f"the manifest says that {what} is proven, but found {decision.verdict}: {_why(decision)}"
        for what, claim, decision in claims
        if claim.means == manifest_pb2.MEANS_PROVEN and not decision.proven
    ]
    if found.rows.verdict is Verdict.REFUTED and batching.mode != manifest_pb2.BATCHING_ALONE:
        mode = manifest_pb2.BatchingMode.Name(batching.mode)
        failures.append(f"the manifest says {mode}, but rows depend on each other: {_why(found.rows)}")
    elif found.rows.counting and batching.mode != manifest_pb2.BATCHING_ALONE:
        mode = manifest_pb2.BatchingMode.Name(batching.mode)
        counting = ", ".join(found.rows.counting)
        failures.append(f"the manifest says {mode}, but {counting} treats rows by their number")
    return failures


def _why(decision: Decision) -> str:
    return "; ".join(decision.reasons or decision.nodes)


def finding(decision: Decision, *, tried: bool) -> manifest_pb2.Finding:
    """Give what a manifest says of how a property was found.

    Args:
        decision: Decision of the walk.
        tried: Whether drawn values were compared where the walk did not decide.
    """
    means = {
        Verdict.PROVEN: manifest_pb2.MEANS_PROVEN,
        Verdict.REFUTED: manifest_pb2.MEANS_REFUTED,
        Verdict.NOT_DECIDED: manifest_pb2.MEANS_TRIED if tried else manifest_pb2.MEANS_NOT_DECIDED,
    }[decision.verdict]
    return manifest_pb2.Finding(means=means, nodes=decision.nodes[:_MOST], reasons=decision.reasons[:_MOST])
