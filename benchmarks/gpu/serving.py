"""The step about the server: it serves every model on the device, and its outputs are the reference outputs."""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.gpu.proving import REPOSITORY, SUBJECTS, Subject, published_version, replay_row
from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row, rows_or_failure
from rnnserve.client import Client
from rnnserve.server import Settings
from rnnserve.server.testing import serve

_READY_SECONDS = 60.0


def serve_models(work: Path, device: str) -> Iterator[Row]:
    """Start a server on the device; over gRPC, compare the reference outputs and read the metadata of each model."""
    settings = Settings(provider=device, graph="native")
    with serve(work / REPOSITORY, settings) as server, Client(server.address) as client:
        for subject in SUBJECTS:
            yield from rows_or_failure("serving", subject.name, partial(_ask, client, work, device, subject))


def _ask(client: Client, work: Path, device: str, subject: Subject) -> Iterable[Row]:
    name, version = subject.name, published_version(work, subject)
    deadline = time.monotonic() + _READY_SECONDS
    while not client.is_ready(name):  # the server loads it in the background
        if time.monotonic() > deadline:
            raise BenchmarkError(f"the server was not ready within {_READY_SECONDS:g} s; its log says why")
        time.sleep(0.2)
    said = client.metadata(name).properties
    verdict = HELD if said["provider"] == device else FAILED
    yield Row("serving", name, f"serves on {device}", verdict, note=f"says provider {said['provider']}")
    yield replay_row("serving", subject, version, device, partial(client.infer, name))
    yield Row("serving", name, "batch_invariant", MEASURED, note=said["batch_invariant"])
