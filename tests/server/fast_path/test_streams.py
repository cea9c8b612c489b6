"""The events of a stream on the lane, one by one: in which order they may come, and when nothing of it is left."""

import itertools
import threading
from types import SimpleNamespace

import pytest

from rnnserve.server.fast_path.streams import ConnectionStreams, RequestStream

FOREVER = 1e9


class Lane:
    """What a stream needs of the lane: it notes what is over."""

    def __init__(self):
        self.over = []
        self.core = SimpleNamespace(
            new_close=lambda: "close",
            receive_message=lambda _: "receive",
            send_message=lambda payload, _: ("send", payload),
            status=lambda error: ("status", error),
            no_metadata="metadata",
        )


class Call:
    """A call of grpcio's core: it keeps the tags of the batches that were started, by their last operation."""

    def __init__(self):
        self.started = {}

    def start_server_batch(self, operations, tag):
        last = operations[-1]
        self.started[last if isinstance(last, str) else last[0]] = tag

    def complete(self, operation, message=None):
        event = SimpleNamespace(batch_operations=[SimpleNamespace(message=lambda: message)])
        return self.started.pop(operation).complete(event)


@pytest.fixture
def lane():
    return Lane()


def opened(lane):
    call = Call()
    stream = RequestStream(lane, call, ConnectionStreams("one", 3), FOREVER, (), lane.over.append)
    stream.begin()
    return stream, call


def test_a_message_that_comes_after_the_close_is_dropped(lane):
    stream, call = opened(lane)
    assert call.complete("close") is None
    assert stream not in lane.over
    assert call.complete("receive", b"late") is None
    assert lane.over == [stream]
    assert call.started == {}
    assert stream.in_flight == 0


@pytest.mark.parametrize("order", list(itertools.permutations(["close", "receive", "send"])))
def test_a_stream_is_over_after_the_last_of_its_events_whichever_it_is(lane, order):
    stream, call = opened(lane)
    message = call.complete("receive", b"first")
    assert "receive" in call.started  # the next one
    message.answer(b"answer")
    for operation in order:
        assert lane.over == []
        call.complete(operation)
        if "status" in call.started:  # half-closed, and all has been answered
            call.complete("status")
    assert lane.over == [stream]
    assert not call.started


def test_a_message_that_is_answered_by_another_thread_when_the_stream_has_closed_starts_nothing(lane):
    stream, call = opened(lane)
    message = call.complete("receive", b"first")
    call.complete("close")
    thread = threading.Thread(target=message.answer, args=(b"answer",))
    thread.start()
    thread.join()
    assert list(call.started) == ["receive"]
    call.complete("receive")
    assert lane.over == [stream]
