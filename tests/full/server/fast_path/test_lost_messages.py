"""The fast path where there is no memory for a message that has arrived."""

from kit.fast_paths import Held, running
from kit.waiting import PATIENCE, until
from rnnserve.server.connections.byte_budget import LARGE


def test_the_fast_path_goes_on_where_there_was_no_memory_for_a_message(monkeypatch):
    held, lost = Held(), []

    def fail(request):
        monkeypatch.undo()
        lost.append(request)
        raise MemoryError

    with running(held) as (_, fast_path, infer):
        monkeypatch.setattr(fast_path._arrivals, "take", fail)
        large = infer.future(b"x" * (LARGE + 1))
        until(lambda: lost)
        response = infer.future(b"small")
        held.calls.get(timeout=PATIENCE).answer(b"answered")
        assert response.result(PATIENCE) == b"answered"
        lost[0].answer(b"")  # so that the fast path may end
        assert large.result(PATIENCE) == b""
