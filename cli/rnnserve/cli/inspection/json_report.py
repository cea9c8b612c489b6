"""A version's record as JSON."""

import dataclasses
import math
from typing import Any, Literal

from rnnserve.cli.inspection.client_snippet import client_snippet
from rnnserve.cli.inspection.findings_in_words import MEANS
from rnnserve.cli.inspection.verification_summary import largest_distances
from rnnserve.cli.inspection.version_record import VersionRecord
from rnnserve.protos import manifest_pb2

__all__ = ["json_report"]

_DEFAULTS = {
    manifest_pb2.DEFAULT_REQUIRED: None,
    manifest_pb2.DEFAULT_FULL_LENGTH: "full length",
    manifest_pb2.DEFAULT_ZEROS: "zeros",
    manifest_pb2.DEFAULT_RECORDED: "recorded",
}

_FINDINGS: tuple[Literal["rows", "padding", "scan_rows", "scan_padding"], ...] = (
    "rows",
    "padding",
    "scan_rows",
    "scan_padding",
)


def json_report(record: VersionRecord, address: str) -> dict[str, Any]:
    """Return the content of `text_report` as values for JSON.

    Args:
        record: Record of the version.
        address: Address of a server, for the client's program.

    Returns:
        "problem" is empty if the version can be used. Otherwise the only other fields are "model", "version" and
        "folder".
    """
    head = {
        "model": record.model,
        "version": record.number,
        "folder": str(record.folder),
        "problem": record.problem,
    }
    if record.manifest is None:
        return head
    manifest = record.manifest
    return head | {
        "served": record.is_chosen,
        "origin": "adopted" if record.is_imported else "exported",
        "inputs": [_input(tensor) for tensor in manifest.inputs],
        "outputs": [_output(tensor) for tensor in manifest.outputs],
        "labels": list(manifest.labels),
        "batching": {
            "mode": manifest_pb2.BatchingMode.Name(manifest.batching.mode).removeprefix("BATCHING_").lower(),
            "reasons": list(manifest.batching.reasons),
            **_findings(manifest.batching),
        },
        "causality": {name: _finding(finding) for name, finding in sorted(manifest.causality.items())},
        "parts": _parts(manifest.parts) if manifest.HasField("parts") else None,
        "proof": _proof(manifest.parity),
        "scan_proof": _proof(manifest.scan_parity) if manifest.HasField("scan_parity") else None,
        "graph": {"file": manifest.graph.file, "reason": manifest.graph.reason} if manifest.HasField("graph") else None,
        "finiteness": {
            "outputs": list(manifest.finiteness.outputs),
            "lost_inputs": list(manifest.finiteness.lost_inputs),
            "allowed": manifest.finiteness.allowed,
        },
        "files": [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in manifest.files],
        "signature": record.signature.as_fields(),
        "libraries": dict(manifest.versions),
        "snippet": client_snippet(manifest, address),
    }


def _findings(batching: manifest_pb2.Batching) -> dict[str, Any]:
    return {name: _finding(getattr(batching, name)) if batching.HasField(name) else None for name in _FINDINGS}


def _finding(finding: manifest_pb2.Finding) -> dict[str, Any]:
    return {"found": MEANS.get(finding.means), "nodes": list(finding.nodes), "reasons": list(finding.reasons)}


def _parts(parts: manifest_pb2.Parts) -> dict[str, Any]:
    return {
        "file": parts.file or None,
        "made_of": parts.made_of or None,
        "states": [_input(tensor) for tensor in parts.inputs],
        "reason": parts.reason or None,
        "not_continued": parts.not_continued or None,
        "steps": _finding(parts.steps),
    }


def _proof(parity: manifest_pb2.Parity) -> dict[str, Any]:
    return {
        "checks": list(parity.checks),
        "sequences": parity.samples,
        "batch_sizes": list(parity.batch_sizes),
        "lengths": list(parity.lengths),
        "drawn": list(parity.drawn),
        "not_drawn": list(parity.not_drawn),
        "not_finite": list(parity.non_finite),
        "amplified": list(parity.amplified),
        "largest_distances": [dataclasses.asdict(row) for row in largest_distances(parity)],
    }


def _tensor(tensor: manifest_pb2.Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "axes": [
            {"name": axis.name, "size": axis.size, "smallest": axis.smallest or None, "largest": axis.largest or None}
            for axis in tensor.axes
        ],
    }


def _input(tensor: manifest_pb2.Tensor) -> dict[str, Any]:
    integers = [tensor.integers.low, tensor.integers.high - 1] if tensor.HasField("integers") else None
    floats = [tensor.floats.low, tensor.floats.high] if tensor.HasField("floats") else None
    return _tensor(tensor) | {
        "lengths_of": tensor.lengths_of or None,
        "default": _DEFAULTS[tensor.default],
        "default_range": _range(tensor.default_range) if tensor.HasField("default_range") else None,
        "required_because": tensor.required_because or None,
        "left_out_with": list(tensor.left_out_with),
        "bounds": integers or floats,
    }


def _range(found: manifest_pb2.FloatRange) -> list[float | str]:
    return [value if math.isfinite(value) else str(value) for value in (found.low, found.high)]  # JSON has no infinity


def _output(tensor: manifest_pb2.Tensor) -> dict[str, Any]:
    return _tensor(tensor) | {
        "continues_as": tensor.continues_as or None,
        "zeros_after_lengths": tensor.zeros_after_lengths,
    }
