"""A session outlives its server: processes on the same repository, of which the one that answers is killed."""

import asyncio
import secrets
import threading

import numpy as np
import pytest

from rnnserve.client import AsyncClient, Client
from support.served_process import ServedProcess

MODEL = "direction_stacked"
POINTS = np.random.default_rng(3).normal(size=(400, 2)).astype(np.float32)
BEFORE = 60
"""Steps before the first server is killed."""


@pytest.fixture
def servers(repository, tmp_path):
    """Two, with the same key."""
    key = tmp_path / "key"
    key.write_bytes(secrets.token_bytes(32))
    key.chmod(0o600)
    options = ["--provider", "cpu", "--session-key", str(key)]
    processes = [ServedProcess(repository, tmp_path / f"{number}.log", *options) for number in range(2)]
    for process in processes:
        assert process.first_line(), process.log()
    yield processes
    for process in processes:
        process.close()


def test_a_killed_server_costs_no_step_and_no_bit(servers):
    """The server is killed while steps are in flight, of sessions of both kinds and of both clients."""
    first, second = servers
    url = f"{first.address},{second.address}"
    reached = threading.Barrier(5)
    answers = {}

    def step_through(state):
        with Client(url) as client, client.session(MODEL, state=state) as session:
            outputs = []
            for number, point in enumerate(POINTS):
                if number == BEFORE:
                    reached.wait(30)
                outputs.append(session.step(point))
            assert session.steps == len(POINTS)
            answers["sync", session.state] = outputs

    async def step_through_awaiting(state):
        async with AsyncClient(url) as client, client.session(MODEL, state=state) as session:
            outputs = []
            for number, point in enumerate(POINTS):
                if number == BEFORE:
                    reached.wait(30)
                outputs.append(await session.step(point))
            answers["async", session.state] = outputs

    threads = [threading.Thread(target=step_through, args=(state,)) for state in ("carried", None)]
    threads += [
        threading.Thread(target=lambda state=state: asyncio.run(step_through_awaiting(state)))
        for state in ("carried", "sealed")
    ]
    for thread in threads:
        thread.start()
    reached.wait(30)
    first.kill()
    for thread in threads:
        thread.join(60)
    assert set(answers) == {(kind, state) for kind in ("sync", "async") for state in ("carried", "sealed")}
    with Client(second.address) as client:
        (whole,) = client.predict(MODEL, [POINTS])
    for outputs in answers.values():
        assert np.stack([answer["output"] for answer in outputs]).tobytes() == whole["output"].tobytes()
        assert outputs[-1]["logits"].tobytes() == whole["logits"].tobytes()
