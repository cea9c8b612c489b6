"""What signals, and the end of a supervisor, make of a server: once, twice, from several sides at once."""

import os
import signal
import types

import pytest

from rnnserve.server.commands.ending import Ending
from rnnserve.server.signals import SAME_SECONDS

ENDS = [signal.SIGTERM, signal.SIGINT]


class Exit(Exception):
    """Instead of the process's end."""


@pytest.fixture
def clock():
    return types.SimpleNamespace(now=0.0)


@pytest.fixture
def make(monkeypatch, clock):
    """Makes the end of a server that serves, or of one that loads."""

    def leave(status):
        raise Exit(status)

    monkeypatch.setattr(os, "_exit", leave)

    def make(*, is_loading=False, **how):
        ending = Ending(clock=lambda: clock.now, **how)
        ending.is_loading = is_loading
        return ending

    return make


def test_first_signal_stops_and_a_later_one_ends_at_once(make, clock):
    for number in ENDS:
        ending = make()
        ending.take(number)
        assert ending.told.is_set()
        clock.now += SAME_SECONDS + 0.01
        with pytest.raises(Exit) as ended:
            ending.take(signal.SIGINT)
        assert ended.value.args == (130,)


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_one_request_that_arrives_several_times_counts_once(make, clock, first, second):
    """`timeout` signals the process and its group. Make, and runners, pass on what the group has had."""
    ending = make()
    ending.take(first)
    for _ in range(3):
        clock.now += SAME_SECONDS / 4
        ending.take(second)
    assert ending.told.is_set()


def test_worker_ends_at_once_only_if_its_supervisor_kills_it(make, clock):
    """systemd signals all processes of a service, and the supervisor signals its workers."""
    for later in (0.0, 10.0):
        ending = make(is_worker=True)
        ending.take(signal.SIGTERM)
        clock.now += later
        ending.take(signal.SIGTERM)
        assert ending.told.is_set()


def test_worker_leaves_hang_ups_to_its_supervisor(make):
    ending = make(is_worker=True)
    ending.take(signal.SIGHUP)
    assert not ending.told.is_set()


def test_hang_up_loads_the_repository_again(make):
    reloads = []
    ending = make()
    ending.take(signal.SIGHUP)  # before there is a server
    ending.reload = lambda: reloads.append(1)
    ending.take(signal.SIGHUP)
    assert reloads == [1]
    assert not ending.told.is_set()
    ending.take(signal.SIGTERM)
    ending.take(signal.SIGHUP)
    assert reloads == [1]


def test_hang_up_of_a_terminal_that_has_gone_is_the_end(make, caplog):
    ending = make(terminal_has_gone=lambda: True)
    ending.reload = lambda: pytest.fail("it ends")
    ending.take(signal.SIGHUP)
    assert ending.told.is_set()
    (line,) = caplog.messages
    assert "SIGHUP: the terminal has gone" in line
    ending.take(signal.SIGHUP)  # the shell's own, beside the kernel's


def test_signal_without_a_meaning_changes_nothing_and_is_logged(make, caplog):
    for is_loading in (True, False):
        ending = make(is_loading=is_loading)
        ending.take(signal.SIGUSR2)
        assert not ending.told.is_set()
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("SIGUSR2 means nothing here")


def test_worker_without_its_supervisor_stops_and_does_not_drain(make):
    ending = make(is_worker=True)
    assert ending.drains
    ending.abandon()
    assert (ending.drains, ending.told.is_set()) == (False, True)


def test_server_that_has_served_nothing_yet_ends_at_once(make):
    for number in ENDS:
        for is_worker in (True, False):
            ending = make(is_loading=True, is_worker=is_worker)
            with pytest.raises(Exit) as ended:
                ending.take(number)
            assert ended.value.args == (0,)
