"""The steps about values: publish on the CPU; prove again, replay golden results and list nodes on the device."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.gpu.closeness import needed_by_batches, needed_by_cases
from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row, one_line, rows_or_failure
from benchmarks.gpu.subjects import REPOSITORY, SUBJECTS, Subject, publication_of, published_version
from rnnserve.export.description.described_model import describe_model, evaluating
from rnnserve.export.errors import ParityError
from rnnserve.export.onnx_runner import PROVIDERS
from rnnserve.export.parity import OnnxRunner, prove
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.pipeline import publish
from rnnserve.export.surroundings import one_thread
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MODEL
from rnnserve.protos.golden import load_cases, replay
from rnnserve.server.repository.providers import new_session, nodes_by_provider

__all__ = ["list_nodes", "place_nodes", "prove_models", "publish_models", "replay_golden", "replay_limits_of"]

_RECURRENT = {"RNN", "GRU", "LSTM"}


def publish_models(work: Path, device: str) -> Iterator[Row]:
    """Publish every model: export, proof and golden results, all on the CPU whatever the device is."""
    del device
    shutil.rmtree(work / REPOSITORY, ignore_errors=True)  # no step may take a model of an earlier run for this one's
    for subject in SUBJECTS:
        yield from rows_or_failure("publish", subject.name, partial(_publish, work, subject))


def prove_models(work: Path, device: str) -> Iterator[Row]:
    """Prove each model.onnx on the device, and measure what its limits would have to be there and on the CPU."""
    for subject in SUBJECTS:
        yield from rows_or_failure("proof", subject.name, partial(_prove, work, device, subject))


def replay_golden(work: Path, device: str) -> Iterator[Row]:
    """Replay each model's golden results on the device."""
    for subject in SUBJECTS:
        yield from rows_or_failure("golden", subject.name, partial(_replay, work, device, subject))


def list_nodes(work: Path, device: str) -> Iterator[Row]:
    """List which nodes of each model.onnx fell back to the CPU, in a session as the server makes it."""
    for subject in SUBJECTS:
        yield from rows_or_failure("nodes", subject.name, partial(_nodes, work, device, subject))


def replay_limits_of(manifest: manifest_pb2.Manifest, device: str) -> manifest_pb2.ReplayLimits:
    """Find a manifest's limits for golden results on a device.

    Raises:
        BenchmarkError: If it has none.
    """
    for limits in manifest.replay_limits:
        if limits.device == device:
            return limits
    raise BenchmarkError(f"its manifest has no limits for golden results on {device}")


def place_nodes(subject: Subject, device: str, nodes: Mapping[str, Mapping[str, int]]) -> Row:
    """Judge where nodes run: recurrent operators on the device, except where they are known to fall back.

    Args:
        subject: The model.
        device: "cpu" or "cuda".
        nodes: Number of nodes of each operator, by provider, as `nodes_by_provider` gives them.
    """
    wanted = PROVIDERS[device][0]
    outside = {op: count for provider, ops in nodes.items() if provider != wanted for op, count in ops.items()}
    fell_back = bool(_RECURRENT & outside.keys())
    known = subject.falls_back and device == "cuda"
    listed = ", ".join(f"{count} {op}" for op, count in sorted(outside.items()))
    note = f"on the CPU: {listed}" if outside else "none fell back"
    if known and not fell_back:
        note += "; onnxruntime's RNN does"
    inside = sum(nodes.get(wanted, {}).values())
    verdict = HELD if fell_back == known else FAILED
    return Row("nodes", subject.name, "nodes", verdict, cpu=sum(outside.values()), cuda=inside, note=note)


def _publish(work: Path, subject: Subject) -> Iterable[Row]:
    result = publish(publication_of(subject), repository=work / REPOSITORY, progress=False)
    yield Row(
        "publish", subject.name, "exported and proven on the CPU", HELD, note=f"version {result.published.version}"
    )


def _prove(work: Path, device: str, subject: Subject) -> Iterable[Row]:
    model = describe_model(publication_of(subject))
    data = published_version(work, subject).files[MODEL]
    what = f"every check of the proof, on {device}"
    try:
        proof = prove(model, None, data, progress=False, device=device)
        yield Row("proof", subject.name, what, HELD, note=f"{proof.parity.samples} rows")
    except ParityError as error:
        yield Row("proof", subject.name, what, FAILED, note=one_line(str(error)))
    runs = {name: OnnxRunner(data, providers=PROVIDERS[name]) for name in dict.fromkeys(("cpu", device))}
    with one_thread(), evaluating(model.module):
        needed = needed_by_batches(model, reference_of(model), runs)
    for name, value in needed[device].items():
        limit = getattr(limits_for(device), name)
        yield Row("proof", subject.name, f"{name} would hold from", MEASURED, needed["cpu"][name], value, limit)


def _replay(work: Path, device: str, subject: Subject) -> Iterable[Row]:
    version = published_version(work, subject)
    cases, limits = load_cases(version.files[GOLDEN]), replay_limits_of(version.manifest, device)
    run = OnnxRunner(version.files[MODEL], providers=PROVIDERS[device])
    failures = replay(cases, run, limits)
    note = one_line("; ".join(failures)) if failures else f"{len(cases)} cases"
    yield Row("golden", subject.name, f"golden results on {device}", FAILED if failures else HELD, note=note)
    allowed = {
        "step": limits.step_state,
        "sequence_largest": limits.sequence_largest,
        "sequence_rms_factor": limits.sequence_rms_factor,
        "sequence_rms_floor": limits.sequence_rms_floor,
    }
    on_cpu = needed_by_cases(
        cases, OnnxRunner(version.files[MODEL]), replay_limits_of(version.manifest, "cpu").sequence_rms_factor
    )
    for name, value in needed_by_cases(cases, run, limits.sequence_rms_factor).items():
        yield Row("golden", subject.name, f"{name} would hold from", MEASURED, on_cpu[name], value, allowed[name])


def _nodes(work: Path, device: str, subject: Subject) -> Iterable[Row]:
    session = new_session(published_version(work, subject).files[MODEL], device)
    yield place_nodes(subject, device, nodes_by_provider(session))
