"""The events of a stream on the fast path: the orders in which they may come, and when the stream is over."""

import itertools
import threading
from types import SimpleNamespace

import pytest

from rnnserve.server.fast_path.streams import RequestStream

FOREVER = 1e9


class Lane:
    """The parts of the fast path that a stream needs. It records the streams that are over."""

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
        return self.started.pop(operation)(event)


@pytest.fixture
def fast_path():
    return Lane()


def opened(fast_path):
    call = Call()
    stream = RequestStream(fast_path, call, "one", FOREVER, (), lambda _: 3, fast_path.over.append)
    stream.begin()
    return stream, call


def test_message_after_the_close_is_dropped(fast_path):
    stream, call = opened(fast_path)
    assert call.complete("close") is None
    assert stream not in fast_path.over
    assert call.complete("receive", b"late") is None
    assert fast_path.over == [stream]
    assert call.started == {}
    assert stream.in_flight == 0


@pytest.mark.parametrize("order", list(itertools.permutations(["close", "receive", "send"])))
def test_stream_is_over_after_its_last_event_in_any_order(fast_path, order):
    stream, call = opened(fast_path)
    message = call.complete("receive", b"first")
    assert "receive" in call.started  # the next one
    message.answer(b"answer")
    for operation in order:
        assert fast_path.over == []
        call.complete(operation)
        if "status" in call.started:  # half-closed, and all has been answered
            call.complete("status")
    assert fast_path.over == [stream]
    assert not call.started


def test_answer_after_the_close_starts_nothing(fast_path):
    stream, call = opened(fast_path)
    message = call.complete("receive", b"first")
    call.complete("close")
    thread = threading.Thread(target=message.answer, args=(b"answer",))
    thread.start()
    thread.join()
    assert list(call.started) == ["receive"]
    call.complete("receive")
    assert fast_path.over == [stream]
