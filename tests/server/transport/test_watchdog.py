"""One thread looks at all pools that have calls, and ends with the last of them."""

import threading

from kit.waiting import until
from rnnserve.server.errors import TooManyCalls
from rnnserve.server.settings import Settings
from rnnserve.server.transport.pools import Pools
from rnnserve.server.transport.thread_pool import CallPool
from rnnserve.server.transport.watchdog import Watchdog


class Watched:
    def __init__(self, *, has_calls=False):
        self.has_calls, self.looks = has_calls, 0

    def look(self):
        self.looks += 1


def watchdogs():
    return {thread for thread in threading.enumerate() if thread.name == "watchdog"}


def test_it_looks_at_those_that_have_calls_again_and_again():
    watchdog, busy, idle = Watchdog(), Watched(has_calls=True), Watched()
    watchdog.watch(busy)
    watchdog.watch(idle)
    watchdog.has_come.set()
    until(lambda: busy.looks > 2)
    assert idle.looks == 0
    idle.has_calls, busy.has_calls = True, False
    until(lambda: idle.looks > 2)
    for pool in (busy, idle):
        watchdog.leave(pool)


def test_it_waits_where_none_has_calls_and_looks_when_one_comes():
    watchdog, pool = Watchdog(), Watched()
    watchdog.watch(pool)
    watchdog.has_come.set()
    until(lambda: not watchdog.has_come.is_set())
    assert pool.looks == 0
    pool.has_calls = True
    watchdog.has_come.set()
    until(lambda: pool.looks)
    watchdog.leave(pool)


def test_all_pools_of_a_server_have_one_thread_which_ends_with_them():
    before = watchdogs()
    pools = Pools.of(Settings())
    (thread,) = watchdogs() - before
    pools.shutdown()
    thread.join(20)
    assert not thread.is_alive()


def test_it_ends_while_calls_are_in_hand():
    watchdog, pool = Watchdog(), Watched(has_calls=True)
    before = watchdogs()
    watchdog.watch(pool)
    (thread,) = watchdogs() - before
    watchdog.has_come.set()
    until(lambda: pool.looks)
    watchdog.leave(pool)
    thread.join(20)
    assert not thread.is_alive()


def test_a_look_that_fails_is_not_the_last_one(caplog):
    """Where no descriptor is left, connections cannot be looked at."""

    class Failing(Watched):
        def look(self):
            super().look()
            raise OSError(24, "Too many open files")

    watchdog, failing, other = Watchdog(), Failing(has_calls=True), Watched(has_calls=True)
    watchdog.watch(failing)
    watchdog.watch(other)
    watchdog.has_come.set()
    until(lambda: failing.looks > 1 < other.looks)
    for pool in (failing, other):
        watchdog.leave(pool)
    assert caplog.messages[0].endswith("are not looked at: [Errno 24] Too many open files")


def test_a_call_of_any_pool_wakes_it():
    watchdog = Watchdog()
    pools = [CallPool(1, 2, f"test {number}", TooManyCalls("Test", 2), watchdog=watchdog) for number in range(2)]
    may_end = threading.Event()
    for pool in pools:
        looked = threading.Event()
        pool.look = looked.set  # type: ignore[method-assign]
        done = pool.submit(may_end.wait)
        assert looked.wait(20)
        may_end.set()
        assert done.result(20)
        may_end.clear()
    for pool in pools:
        pool.shutdown()
