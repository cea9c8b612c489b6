"""WebSocket streams at once: no answer is lost or swapped, memory stays bounded, and bystanders notice little."""

import asyncio
import json
import random

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from campaigns.drills.conftest import check_sighting
from campaigns.drills.drilled import drilled
from kit.waiting import PATIENCE
from rnnserve.client import Client

MODEL = "direction_simple"
SESSIONS, STEPS = 500, 20
MOST_BYTES, MOST_SECONDS = 300 << 20, 3.0


@pytest.fixture
def front(repository):
    with drilled(repository, http=True) as front:
        yield front


def walk_of(number):
    return np.random.default_rng(number).normal(size=(STEPS, 2)).astype("f4")


def opened(front):
    address = f"ws://127.0.0.1:{front.http_port}/v2/models/{MODEL}/stream"
    return connect(address, open_timeout=PATIENCE, ping_timeout=None, proxy=None)


def frame(number, at):
    inputs = {"input": [[float(value) for value in walk_of(number)[at]]]}
    return json.dumps({"id": f"{number}:{at}", "inputs": inputs, "outputs": ["logits"]})


def note(front, request):
    for name, sighting in front.sightings().items():
        check_sighting(request, sighting, front.memory, name)
        assert sighting.longest < MOST_SECONDS, name
    assert front.memory.peak < MOST_BYTES


def test_500_concurrent_sessions_get_their_own_answers_in_order(front, request):
    """Some send all frames before they read, others wait for each answer. The last answers equal gRPC's bit for bit."""

    async def session(number):
        answers = []
        async with opened(front) as socket:
            for at in range(STEPS):
                await socket.send(frame(number, at))
                if number % 2:
                    answers.append(json.loads(await socket.recv()))
            while len(answers) < STEPS:
                answers.append(json.loads(await socket.recv()))
        assert [answer["id"] for answer in answers] == [f"{number}:{at}" for at in range(STEPS)]
        return answers[-1]["outputs"][0]["data"]

    async def go():
        async with asyncio.timeout(5 * PATIENCE):
            return await asyncio.gather(*(session(number) for number in range(SESSIONS)))

    front.forget()
    found = np.array(asyncio.run(go()), "f4")
    with Client(front.server.address, timeout=PATIENCE) as client:
        rows = client.predict(MODEL, [walk_of(number) for number in range(SESSIONS)], outputs=["logits"])
    expected = np.stack([row["logits"] for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    note(front, request)


def test_clients_that_disconnect_at_any_moment_leave_no_resources(front, request):
    """They close in the handshake, within a frame or with frames in flight, with or without a closing handshake."""
    draw = random.Random(3)

    async def session(number):
        for _ in range(5):
            try:
                async with opened(front) as socket:
                    count, kind = draw.randrange(4), draw.randrange(3)
                    for at in range(count):
                        await socket.send(frame(number, at))
                    if kind == 0 and count:
                        await socket.recv()
                    elif kind == 1:
                        socket.transport.abort()
                    else:
                        socket.transport.write(b"\x81\xfe\x10")  # the beginning of a frame
                        socket.transport.abort()
            except (ConnectionClosed, OSError):
                continue

    async def go():
        async with asyncio.timeout(5 * PATIENCE):
            await asyncio.gather(*(session(number) for number in range(200)))

    front.forget()
    asyncio.run(go())
    assert front.memory.settles_below(200 << 20)
    note(front, request)


def test_memory_for_slow_readers_is_bounded(front, request):
    """A hundred clients send but never read. The gateway stops reading from them, and its memory stays small."""
    large = json.dumps({"inputs": {"input": [[0.5, -0.5]] * 2000}, "outputs": ["output"]})

    async def session(number):
        async with opened(front) as socket:
            socket.transport.pause_reading()
            try:
                async with asyncio.timeout(8):
                    while True:
                        await socket.send(large)
            except (TimeoutError, ConnectionClosed):
                socket.transport.abort()

    async def go():
        await asyncio.gather(*(session(number) for number in range(100)), return_exceptions=True)

    front.forget()
    asyncio.run(go())
    note(front, request)
    assert front.memory.settles_below(250 << 20)
