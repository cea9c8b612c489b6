"""Workers of one generation load, listen together, serve the same, and are replaced where they die or hang."""

import logging
import signal

import pytest

from kit.supervised import LOADED, WORKER, until_seen
from rnnserve.server.errors import StartError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sys.exit(0)", "exit status 0"),
        ("sys.exit(1)", "exit status 1"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        (LOADED + "sys.exit(3)", "exit status 3"),
    ],
)
def test_a_worker_that_dies_before_all_are_ready_is_the_end(generation, text, said):
    two = generation(text, LOADED.replace('say("ready")', "time.sleep(60)"))
    with pytest.raises(StartError, match=f"^worker 0 ended before it was ready, with {said}$"):
        until_seen(two, lambda: two.is_ready)


def test_one_that_dies_is_replaced_serves_the_same_and_the_log_tells(generation, caplog):
    two = generation(WORKER, WORKER)
    until_seen(two, lambda: two.is_ready)
    first, second = two.workers
    first.signal(signal.SIGKILL)
    with caplog.at_level(logging.INFO):
        until_seen(two, lambda: "worker 0 is ready again" in caplog.messages)
    assert first.is_pinned
    assert first.pins == {}
    assert not second.is_pinned
    assert caplog.messages == [
        "worker 0 died with signal SIGKILL; another starts in 0.05 s",
        "worker 0 is ready again",
    ]
