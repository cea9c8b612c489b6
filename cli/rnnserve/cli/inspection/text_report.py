"""A version's record for people."""

from collections.abc import Iterator, Sequence

from rnnserve.cli.inspection.client_snippet import client_snippet
from rnnserve.cli.inspection.findings_in_words import batching_findings, causality_findings
from rnnserve.cli.inspection.parts_in_words import parts_in_words
from rnnserve.cli.inspection.signature_record import signature_in_words
from rnnserve.cli.inspection.verification_summary import largest_distances
from rnnserve.cli.inspection.version_record import VersionRecord
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import SCAN
from rnnserve.protos.batching_modes import BATCHING_MODES
from rnnserve.protos.tensors_in_words import axes_in_words, roles_in_words

__all__ = ["text_report"]


def text_report(record: VersionRecord, address: str) -> Iterator[str]:
    """Yield the lines of a report.

    Args:
        record: Record of the version.
        address: Address of a server, for the client's program.
    """
    served = "" if record.is_chosen else ", not served, because config.pbtxt selects other versions"
    if record.manifest is None:
        yield f"{record.model} version {record.number}"
        yield f"  CANNOT BE USED  {record.problem}"
        return
    manifest = record.manifest
    yield f"{record.model} version {record.number}{served}"
    yield f"  origin    {_origin(record)}"
    yield from _tensors("inputs", manifest.inputs)
    yield from _tensors("outputs", manifest.outputs)
    if manifest.labels:
        yield f"  labels    {', '.join(manifest.labels)}"
    yield f"  batching  {BATCHING_MODES[manifest.batching.mode]}"
    yield from (f"            since {reason}" for reason in manifest.batching.reasons)
    yield from (f"            {line}" for line in batching_findings(manifest.batching))
    yield from _titled("steps", list(causality_findings(manifest.causality)))
    yield from _titled("parts", list(parts_in_words(manifest)))
    yield from _titled("verified", list(_verification(manifest.parity)))
    if manifest.HasField("scan_parity"):
        yield from _titled("scan", [f"{SCAN}, with loops for RNN operators:", *_verification(manifest.scan_parity)])
        graph = manifest.graph
        yield from _titled("graph", [f"{graph.file} serves on the CPU, because {graph.reason}"] if graph.file else [])
    yield from _titled("finite", list(_finiteness(manifest.finiteness)))
    yield from _titled("signed", list(signature_in_words(record.signature)))
    yield from _titled("files", [f"{record.folder / file.name}  {file.bytes:,} bytes" for file in manifest.files])
    yield "  in Python"
    yield from (f"    {line}".rstrip() for line in client_snippet(manifest, address).splitlines())


def _origin(record: VersionRecord) -> str:
    if record.is_imported:
        return "an imported ONNX file, not compared with its framework; `rnnserve serve` needs --allow-unproven"
    libraries = record.manifest.versions if record.manifest is not None else {}
    torch = f" (torch {libraries['torch']})" if "torch" in libraries else ""
    return f"a PyTorch module{torch}, and the model was compared with it"


def _tensors(title: str, tensors: Sequence[manifest_pb2.Tensor]) -> Iterator[str]:
    names = max(len(tensor.name) for tensor in tensors)
    rows = [
        (f"{tensor.name:<{names}}  {tensor.datatype:<5}  {axes_in_words(tensor)}", "; ".join(roles_in_words(tensor)))
        for tensor in tensors
    ]
    width = max(len(row) for row, _ in rows)
    yield from _titled(title, [f"{row:<{width}}  {roles}".rstrip() for row, roles in rows])


def _verification(parity: manifest_pb2.Parity) -> Iterator[str]:
    yield from parity.checks
    if parity.samples:
        yield (
            f"{parity.samples:,} sequences, in batches of {_span(parity.batch_sizes)}, of {_span(parity.lengths)} steps"
        )
    if parity.drawn:
        yield f"also drawn: {', '.join(line.split(':')[0] for line in parity.drawn)}"
    yield from (f"not drawn: {line}" for line in parity.not_drawn)
    yield from (f"not finite: {line}" for line in parity.non_finite)
    yield from (f"amplified: {line}" for line in parity.amplified)
    exact = parity.exact or "float64"
    for row in largest_distances(parity):
        yield (
            f'largest distances, {row.inputs}: "{row.tensor}" ONNX from eager {row.onnx_from_eager:.1e}; from {exact}: '
            f"ONNX {row.onnx_from_exact:.1e}, eager {row.eager_from_exact:.1e}"
        )


def _finiteness(finiteness: manifest_pb2.Finiteness) -> Iterator[str]:
    outputs = ", ".join(f'"{name}"' for name in finiteness.outputs)
    if outputs:
        refused = "returned unchanged" if finiteness.allowed else "refused without --allow-non-finite"
        yield f"results may hold NaN or infinity in {outputs}: {refused}"
    lost = ", ".join(f'"{name}"' for name in finiteness.lost_inputs)
    if lost:
        yield f"NaN and infinity are always refused in {lost}, because a recurrent operator would lose them"


def _titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"  {title if number == 0 else '':<8}  {line}"


def _span(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "no"
