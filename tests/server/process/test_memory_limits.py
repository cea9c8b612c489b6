"""What a limit on the address space leaves for requests."""

import resource
import subprocess
import sys

import pytest

from rnnserve.server.process.memory_limits import Room, address_space_left, bytes_for_requests, stack_bytes

MB = 1 << 20


@pytest.mark.parametrize("left", [720 * MB, 10**12])
def test_where_there_is_room_nothing_changes_and_nothing_is_said(left):
    assert bytes_for_requests(288 * MB, 144 * MB, Room(left, "x")) == (288 * MB, None)


@pytest.mark.parametrize(("left", "held"), [(718, 287), (200, 28), (150, 8), (-5, 8)])
def test_where_there_is_little_requests_take_less_and_a_line_says_so(left, held):
    most, said = bytes_for_requests(288 * MB, 144 * MB, Room(left * MB, "the address space (ulimit -v)"))
    assert most == held * MB
    assert said is not None
    assert f"the limit on the address space (ulimit -v) leaves {left} MB, and requests may take 720" in said
    assert f"raise the limit by {720 - left} MB" in said


def test_requests_never_take_more_than_the_settings_say():
    assert bytes_for_requests(MB, 144 * MB, Room(0, "x"))[0] == MB


def test_the_limit_of_the_process_is_read():
    """In another process, which is left with its limit."""
    asked = "from rnnserve.server.process.memory_limits import address_space_left as left; print(left().left)"
    said = subprocess.run(
        [sys.executable, "-c", f"import resource; resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33)); {asked}"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert 2**32 < int(said) < 2**33


def test_without_a_limit_nothing_is_known():
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        pytest.skip("this process has a limit")
    assert address_space_left() is None


def test_a_stack_takes_what_the_limit_says(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (MB, MB))
    assert stack_bytes() == MB
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert stack_bytes() == 8 * MB
