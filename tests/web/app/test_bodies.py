"""Bodies in hand: bounded together, and who sends slowly, or much, keeps no room from who sends little."""

import asyncio
import gzip

import pytest

from rnnserve.web.app import bodies
from rnnserve.web.app.bodies import BodyReader, ClientGone
from rnnserve.web.errors import RestError

MIB = 1 << 20


class Sender:
    """A request whose body comes as the test says."""

    def __init__(self, reader, length=None, **headers):
        self.scope = {}
        self._reader = reader
        self._headers = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        if length is not None:
            self._headers[b"content-length"] = str(length).encode()
        self._pieces = asyncio.Queue()
        self.task = asyncio.create_task(reader.read(self.scope, self._headers, self._pieces.get))

    async def send(self, piece, more_body=True):
        self._pieces.put_nowait({"type": "http.request", "body": piece, "more_body": more_body})
        for _ in range(3):
            await asyncio.sleep(0)

    def leave(self):
        self._pieces.put_nowait({"type": "http.disconnect"})

    async def whole(self):
        return await asyncio.wait_for(self.task, 10)

    def end(self):
        self._reader.let_go(self.scope)


async def status_of(sender):
    with pytest.raises(RestError) as caught:
        await sender.whole()
    sender.end()
    return caught.value.status


def run(test):
    asyncio.run(asyncio.wait_for(test(), 20))


def test_bytes_are_held_until_the_request_has_been_answered():
    async def test():
        reader = BodyReader(MIB, 6 * MIB)
        one = Sender(reader, 5)
        await one.send(b"ab")
        await one.send(b"cde", more_body=False)
        assert await one.whole() == b"abcde"
        assert reader.held == 5
        reader.hold(one.scope, 7)
        assert reader.held == 12
        one.end()
        one.end()
        assert reader.held == 0

    run(test)


def test_large_bodies_are_refused_before_they_come_where_others_take_the_room():
    async def test():
        reader = BodyReader(4 * MIB, 6 * MIB)
        first = Sender(reader, 4 * MIB)
        await first.send(bytes(MIB))
        assert await status_of(Sender(reader, 2 * MIB)) == 429
        assert await status_of(Sender(reader, 5 * MIB)) == 413
        await first.send(bytes(3 * MIB), more_body=False)
        assert len(await first.whole()) == 4 * MIB
        first.end()
        after = Sender(reader, 2 * MIB)
        await after.send(bytes(2 * MIB), more_body=False)
        await after.whole()
        assert reader.held == 2 * MIB

    run(test)


def test_a_small_body_finds_room_where_a_large_one_does_not():
    async def test():
        reader = BodyReader(5 * MIB, 6 * MIB)
        large = Sender(reader, 5 * MIB)
        await large.send(b"")
        small = Sender(reader, 100)
        await small.send(bytes(100), more_body=False)
        assert len(await small.whole()) == 100
        for length in (None, MIB):
            other = Sender(reader, length)
            await other.send(bytes(MIB))
            assert await status_of(other) == 429
        large.task.cancel()

    run(test)


def test_bodies_that_arrive_slowly_give_way(monkeypatch):
    monkeypatch.setattr(bodies, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(bodies, "_SLOW_SECONDS_FOR_SMALL", 0.0)

    async def test():
        reader = BodyReader(2 * MIB, 6 * MIB)
        slow = [Sender(reader, MIB) for _ in range(5)]
        for one in slow:
            await one.send(b"a")
        await asyncio.sleep(0.05)
        last = Sender(reader, MIB)
        await last.send(bytes(MIB), more_body=False)
        assert len(await last.whole()) == MIB
        assert await status_of(slow[0]) == 408
        assert not any(one.task.done() for one in slow[1:])
        assert reader.held <= 6 * MIB
        for one in slow[1:]:
            one.task.cancel()

    run(test)


def test_a_client_that_goes_leaves_nothing():
    async def test():
        reader = BodyReader(MIB, 6 * MIB)
        one = Sender(reader, MIB)
        await one.send(b"a")
        one.leave()
        with pytest.raises(ClientGone):
            await one.whole()
        one.end()
        assert reader.held == 0
        assert not reader._arriving

    run(test)


def test_a_bomb_is_counted_as_it_grows():
    async def test():
        reader = BodyReader(8 * MIB, 6 * MIB)
        other = {}
        reader.hold(other, 3 * MIB)
        bomb = Sender(reader, 100, content_encoding="gzip")
        await bomb.send(gzip.compress(bytes(8 * MIB)), more_body=False)
        assert await status_of(bomb) == 429
        assert reader.held == 3 * MIB

    run(test)
