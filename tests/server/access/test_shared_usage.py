"""What workers share of the limits of tokens, as several processes see it."""

import functools
import os
import subprocess
import sys

import pytest

from kit.tokens import add_limited, bearer, tokens_in
from rnnserve.server.access import shared_usage
from rnnserve.server.access.access_file import Limits
from rnnserve.server.access.gate import Gate
from rnnserve.server.access.refusals import TokenLimitReached
from rnnserve.server.access.shared_usage import UsageMemory, use_usage_memory
from rnnserve.server.access.usage import Usage


@pytest.fixture
def memories():
    """The same memory as three processes see it."""
    first = UsageMemory(3)
    yield [first, *(UsageMemory(3, first.descriptor, process) for process in (1, 2))]
    os.close(first.descriptor)


@pytest.fixture
def usages(memories, clock):
    def make(limits, name="a"):
        return [Usage(limits, clock, functools.partial(memory.numbers_of, name)) for memory in memories]

    return make


def let_in(usages, times):
    count = 0
    for at in range(times):
        try:
            usages[at % len(usages)].begin()
        except TokenLimitReached:
            continue
        count += 1
    return count


@pytest.mark.parametrize("rate", [0.5, 1.0, 7.0, 100.0])
def test_a_rate_is_that_of_all_workers_together(usages, clock, rate):
    shared = usages(Limits(rate=rate))
    assert let_in(shared, 1000) == max(rate, 1)
    clock.now += 0.5 if rate > 1 else 1.0 / rate
    assert let_in(shared[:1], 1000) == max(rate // 2, 1)
    assert let_in(shared[1:], 1000) == 0
    clock.now += 1000.0
    assert let_in(shared[2:], 1000) == max(rate, 1)
    assert let_in(shared, 1000) == 0


def test_a_worker_alone_has_all_of_it(usages):
    assert let_in(usages(Limits(rate=100.0))[1:2], 1000) == 100


def test_bytes_are_paid_for_by_all(usages, clock):
    one, other, _ = usages(Limits(bytes_per_second=100))
    one.begin()
    one.count_bytes(80)
    other.begin()
    other.count_bytes(150)
    for usage in (one, other):
        with pytest.raises(TokenLimitReached, match="bytes_per_second"):
            usage.begin()
    clock.now += 1.2
    with pytest.raises(TokenLimitReached):
        one.begin()
    clock.now += 0.2
    one.begin()


def test_requests_in_flight_are_those_of_all_and_those_of_a_dead_worker_are_none(usages, memories):
    one, other, _ = usages(Limits(in_flight=2))
    one.begin()
    other.begin()
    with pytest.raises(TokenLimitReached, match="in_flight = 2"):
        one.begin()
    other.end()
    one.begin()
    with pytest.raises(TokenLimitReached):
        other.begin()
    supervisor = memories[0]
    assert [supervisor.take_place() for _ in range(3)] == [0, 1, 2]
    supervisor.leave_place(0)
    assert supervisor.take_place() == 0
    assert let_in([other], 10) == 2


def test_each_name_has_its_own(usages):
    assert let_in(usages(Limits(rate=2.0), "a"), 10) == 2
    assert let_in(usages(Limits(rate=3.0), "b"), 10) == 3
    assert let_in(usages(Limits(rate=2.0), "a"), 10) == 0


def test_limits_that_come_later_are_shared(usages):
    shared = usages(Limits())
    assert let_in(shared, 100) == 100
    for usage in shared:
        usage.limit(Limits(in_flight=4))
    assert let_in(shared, 100) == 4


def test_another_process_sees_the_same(memories):
    code = (
        "import sys; from rnnserve.server.access.shared_usage import UsageMemory\n"
        f"numbers = UsageMemory(3, {memories[0].descriptor}, 2).numbers_of('n')\n"
        "numbers.until, numbers.in_flight = 5.0, 7\n"
        "print(numbers.latest_until(), numbers.all_in_flight())"
    )
    numbers = memories[1].numbers_of("n")
    numbers.until, numbers.in_flight = 3.0, 1
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, pass_fds=[memories[0].descriptor], check=True)
    assert done.stdout.split() == ["5.0", "8.0"]
    assert (numbers.latest_until(), numbers.all_in_flight()) == (5.0, 8.0)


def test_memory_of_another_size_is_not_used(memories):
    with pytest.raises(ValueError, match="another release"):
        UsageMemory(4, memories[0].descriptor, 1)


def test_more_names_than_lines_are_limited_by_each_for_itself(memories, monkeypatch, caplog):
    monkeypatch.setattr(shared_usage, "_LINES", 2)
    assert memories[0].numbers_of("a") is not None
    assert memories[1].numbers_of("b") is not None
    assert memories[2].numbers_of("a") is not None
    assert [memories[0].numbers_of(name) for name in ("c", "d")] == [None, None]
    assert memories[0].numbers_of("b") is not None
    assert len(caplog.records) == 1


def test_places_that_are_gone_are_told(caplog):
    memory = UsageMemory(1)
    assert [memory.take_place() for _ in range(2)] == [0, None]
    assert len(caplog.records) == 1
    os.close(memory.descriptor)


def test_a_gate_shares_what_its_process_shares(tmp_path, memories, monkeypatch):
    monkeypatch.setattr(shared_usage, "_used", [])
    tokens = tokens_in(tmp_path)
    token = add_limited(tokens.path, "limited", "in_flight = 1")
    gates = []
    for memory in memories:
        use_usage_memory(memory)
        gates.append(Gate(tokens.path))
    first, second, _ = [gate.grant_of(bearer(token)).usage for gate in gates]
    assert first.begin()
    with pytest.raises(TokenLimitReached):
        second.begin()
