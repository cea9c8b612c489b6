"""The fast path's own loop, and what it needs from grpcio."""

import functools
import queue

import grpc

from kit.fast_paths import Held, running
from kit.waiting import PATIENCE, until
from rnnserve.server.connections.byte_budget import LARGE, ByteBudget
from rnnserve.server.errors import ShuttingDown


def test_fast_path_ends_only_after_the_last_answer():
    held = Held()
    with running(held) as (server, fast_path, infer):
        response = infer.future(b"question")
        call = held.calls.get(timeout=PATIENCE)
        fast_path.stop_accepting()
        stopped = server.stop(PATIENCE)
        assert not fast_path.join(0.3)
        call.answer(b"answer")
        assert response.result(PATIENCE) == b"answer"
        assert stopped.wait(PATIENCE)
        assert fast_path.join(PATIENCE)


def test_call_is_answered_once():
    held = Held()
    with running(held) as (_, _, infer):
        response = infer.future(b"question")
        call = held.calls.get(timeout=PATIENCE)
        assert call.payload == b"question"
        assert not call.is_answered
        call.answer(b"first")
        assert call.is_answered
        call.answer(b"second")
        call.refuse(ShuttingDown("third"))
        assert response.result(PATIENCE) == b"first"


def test_watched_call_reports_only_its_cancellation():
    held, told = Held(), queue.Queue()
    with running(held) as (_, _, infer):
        response, gone = infer.future(b"answered"), infer.future(b"cancelled")
        calls = {call.payload: call for call in (held.calls.get(timeout=PATIENCE) for _ in range(2))}
        for payload, call in calls.items():
            call.watch(functools.partial(told.put, payload))
        calls[b"answered"].answer(b"answer")
        assert response.result(PATIENCE) == b"answer"
        gone.cancel()
        assert told.get(timeout=PATIENCE) == b"cancelled"
        calls[b"cancelled"].refuse(ShuttingDown("for the fast path's own count"))
        assert told.empty()


def test_defect_in_the_handler_fails_only_its_calls(caplog):
    class Broken(Held):
        def take(self, arrived):
            if arrived and arrived[0].payload == b"bad":
                raise ZeroDivisionError("secret")
            super().take(arrived)

    held = Broken()
    with running(held) as (_, fast_path, infer):
        response = infer.future(b"bad")
        assert response.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in response.details()
        assert "secret" in caplog.text
        response = infer.future(b"good")
        held.calls.get(timeout=PATIENCE).answer(b"answer")
        assert response.result(PATIENCE) == b"answer"
        assert not fast_path.join(0)


def test_bytes_are_counted_from_arrival_until_the_answer_is_sent():
    held, budget = Held(), ByteBudget(1 << 20)
    with running(held, budget) as (_, _, infer):
        response = infer.future(b"q" * 100_000)
        call = held.calls.get(timeout=PATIENCE)
        assert budget.held == 100_000
        call.answer(b"a" * 50_000)
        assert response.result(PATIENCE) == b"a" * 50_000
        until(lambda: budget.held == 0)
        assert call.payload == b""


def test_request_beyond_the_byte_budget_is_refused():
    held, budget = Held(), ByteBudget(250_000)
    with running(held, budget) as (_, _, infer):
        first, second = infer.future(b"q" * 100_000), infer.future(b"q" * 100_000)
        call = held.calls.get(timeout=PATIENCE)
        until(lambda: first.done() or second.done())
        refused = first if first.done() else second
        assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.details().startswith("requests and unread responses of this connection take 100,000 bytes")
        call.refuse(ShuttingDown("done"))
        until(lambda: budget.held == 0)


def test_response_beyond_the_byte_budget_is_refused():
    held, budget = Held(), ByteBudget(250_000)
    with running(held, budget) as (_, _, infer):
        response = infer.future(b"question")
        held.calls.get(timeout=PATIENCE).answer(b"a" * 100_000)  # it takes twice as much until it has been sent
        assert response.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        until(lambda: budget.held == 0)


def test_large_calls_have_their_own_handler_whose_defects_fail_only_them(caplog):
    held = Held()
    with running(held) as (_, _, infer):
        for failure in (None, ZeroDivisionError("secret"), None):
            held.failure = failure
            response = infer.future(b"q" * (LARGE + 1))
            if failure is None:
                held.large.get(timeout=PATIENCE).answer(b"answer")
                assert response.result(PATIENCE) == b"answer"
            else:
                assert response.code() == grpc.StatusCode.INTERNAL
        assert held.calls.empty()
    assert "secret" in caplog.text
