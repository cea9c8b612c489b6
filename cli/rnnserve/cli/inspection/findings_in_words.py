"""Descriptions of how the dependencies of a model's rows, padding and steps were found."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

from rnnserve.protos import manifest_pb2

__all__ = ["MEANS", "batching_findings", "causality_findings", "finding_in_words"]

MEANS: Mapping[int, str] = MappingProxyType(
    {
        manifest_pb2.MEANS_PROVEN: "proven",
        manifest_pb2.MEANS_TRIED: "tried",
        manifest_pb2.MEANS_REFUTED: "refuted",
        manifest_pb2.MEANS_NOT_DECIDED: "not decided",
    }
)
"""Descriptions by the manifest's number. Older manifests have none."""

_IN_WORDS: Mapping[int, str] = MappingProxyType(
    {
        manifest_pb2.MEANS_PROVEN: "proven for all values with the graph",
        manifest_pb2.MEANS_TRIED: "tested with random values",
        manifest_pb2.MEANS_REFUTED: "refuted by the graph",
        manifest_pb2.MEANS_NOT_DECIDED: "not decided",
    }
)
_MOST = 3  # most nodes, or outputs, to name


def batching_findings(batching: manifest_pb2.Batching) -> Iterator[str]:
    """Describe how the batching mode was found. Yields nothing if the manifest doesn't record it.

    Args:
        batching: Batching of the manifest.
    """
    named: tuple[tuple[Literal["rows", "padding", "scan_rows", "scan_padding"], str], ...] = (
        ("rows", "row independence"),
        ("padding", "padding independence"),
        ("scan_rows", "row independence in model.scan.onnx"),
        ("scan_padding", "padding independence in model.scan.onnx"),
    )
    for name, what in named:
        if batching.HasField(name):
            yield f"{what}: {finding_in_words(getattr(batching, name))}"


def causality_findings(causality: Mapping[str, manifest_pb2.Finding]) -> Iterator[str]:
    """Name the outputs whose steps don't depend on later steps.

    Args:
        causality: Causality of the manifest, by output.
    """
    for means, words in _IN_WORDS.items():
        names = [f'"{name}"' for name, finding in sorted(causality.items()) if finding.means == means]
        if names:
            yield f"no later step is read for {', '.join(names)}: {words}"


def finding_in_words(finding: manifest_pb2.Finding) -> str:
    """Describe how a property was found. For a tested property, name the nodes without a rule."""
    words = _IN_WORDS.get(finding.means, "not recorded")
    if finding.means != manifest_pb2.MEANS_TRIED or not finding.nodes:
        return words
    more = f" and {len(finding.nodes) - _MOST} more" if len(finding.nodes) > _MOST else ""
    return f"{words}, because no rule covers {', '.join(finding.nodes[:_MOST])}{more}"
