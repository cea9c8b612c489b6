"""A session outlives its servers: processes on the same repository, which are killed one after the other."""

import asyncio
import secrets
import threading

import numpy as np
import pytest

from kit.asked_servers import started_servers
from rnnserve.client import AsyncClient, Client

MODEL = "direction_stacked"
POINTS = np.random.default_rng(3).normal(size=(1000, 2)).astype(np.float32)
BEFORE = (60, 500)
"""Steps before the first server is killed, and before the second one, when the first has come back."""


@pytest.fixture
def servers(repository, tmp_path):
    """A function that starts servers at ports, 0 for any, with the same key."""
    key = tmp_path / "key"
    key.write_bytes(secrets.token_bytes(32))
    key.chmod(0o600)
    with started_servers(repository, session_key=key) as start:
        yield start


def test_sessions_lose_no_step_and_no_bit_when_servers_are_killed(servers):
    """Each is killed while steps are in flight, of sessions of both kinds and of both clients."""
    first, second = servers(0, 0)
    url = f"{first.address},{second.address}"
    reached = threading.Barrier(5)
    answers = {}

    def step_through(state):
        with Client(url) as client, client.session(MODEL, state=state) as session:
            outputs = []
            for number, point in enumerate(POINTS):
                if number in BEFORE:
                    reached.wait(30)
                outputs.append(session.step(point))
            assert session.steps == len(POINTS)
            answers["sync", session.state] = outputs

    async def step_through_awaiting(state):
        async with AsyncClient(url) as client, client.session(MODEL, state=state) as session:
            outputs = []
            for number, point in enumerate(POINTS):
                if number in BEFORE:
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
    (back,) = servers(first.port)
    reached.wait(30)
    second.kill()
    for thread in threads:
        thread.join(60)
    assert set(answers) == {(kind, state) for kind in ("sync", "async") for state in ("carried", "sealed")}
    with Client(back.address) as client:
        (whole,) = client.predict(MODEL, [POINTS])
    for outputs in answers.values():
        assert np.stack([answer["output"] for answer in outputs]).tobytes() == whole["output"].tobytes()
        assert outputs[-1]["logits"].tobytes() == whole["logits"].tobytes()
