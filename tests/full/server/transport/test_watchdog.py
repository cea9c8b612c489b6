"""One thread looks at all pools that have calls, and ends with the last of them."""

import threading

from kit.waiting import until
from rnnserve.server.settings import Settings
from rnnserve.server.transport.pools import Pools
from rnnserve.server.transport.watchdog import Watchdog


class Watched:
    def __init__(self, *, has_calls=False):
        self.has_calls, self.looks = has_calls, 0

    def look(self):
        self.looks += 1


def watchdogs():
    return {thread for thread in threading.enumerate() if thread.name == "watchdog"}


def test_all_pools_of_a_server_have_one_thread_which_ends_with_them():
    before = watchdogs()
    pools = Pools.of(Settings())
    (thread,) = watchdogs() - before
    pools.shutdown()
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
