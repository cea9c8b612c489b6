"""What the requests of one token take, and may take: in one process, and in several that share what they count."""

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


def let_in(usages, times):
    """How many of so many requests are let in, asked of each process in turn."""
    count = 0
    for at in range(times):
        try:
            usages[at % len(usages)].begin()
        except TokenLimitReached:
            continue
        count += 1
    return count


def test_rate_is_a_bucket_of_a_second(clock):
    usage = Usage(Limits(rate=2.0), clock)
    assert let_in([usage], 2) == 2
    with pytest.raises(TokenLimitReached, match="rate = 2") as refused:
        usage.begin()
    assert refused.value.retry_after == pytest.approx(0.5)
    clock.now += 0.5
    assert let_in([usage], 2) == 1
    clock.now += 1000.0
    assert let_in([usage], 3) == 2
    assert (usage.requests, usage.limited) == (5, 3)


def test_rate_below_one_lets_one_request_in(clock):
    usage = Usage(Limits(rate=0.5), clock)
    assert let_in([usage], 2) == 1
    clock.now += 2.0
    assert let_in([usage], 2) == 1


def test_requests_in_flight_are_bounded():
    usage = Usage(Limits(in_flight=2))
    assert let_in([usage], 3) == 2
    usage.end()
    assert let_in([usage], 3) == 1
    with pytest.raises(TokenLimitReached, match="in_flight = 2"):
        usage.begin()


def test_bytes_are_paid_for_later(clock):
    usage = Usage(Limits(bytes_per_second=100), clock)
    assert usage.begin()
    usage.count_bytes(250)
    clock.now += 1.0
    with pytest.raises(TokenLimitReached, match="bytes_per_second = 100") as refused:
        usage.begin()
    assert 0.0 < refused.value.retry_after <= 0.5 + 1e-9
    clock.now += 1.0
    usage.begin()


def test_requests_are_counted_without_limits():
    usage = Usage(Limits())
    assert not any(usage.begin() for _ in range(100))
    assert (usage.requests, usage.limited) == (100, 0)


@pytest.fixture
def memories():
    """The same memory as three processes see it."""
    first = UsageMemory(3)
    yield [first, *(UsageMemory(3, first.descriptor, process) for process in (1, 2))]
    os.close(first.descriptor)


@pytest.fixture
def usages(memories, clock):
    """Makes the usage of a name, as each process has it."""

    def make(limits, name="a"):
        return [Usage(limits, clock, functools.partial(memory.numbers_of, name)) for memory in memories]

    return make


@pytest.mark.parametrize("rate", [0.5, 1.0, 7.0, 100.0])
def test_rate_is_that_of_all_workers_together(usages, clock, rate):
    shared = usages(Limits(rate=rate))
    assert let_in(shared, 1000) == max(rate, 1)
    clock.now += 0.5 if rate > 1 else 1.0 / rate
    assert let_in(shared[:1], 1000) == max(rate // 2, 1)
    assert let_in(shared[1:], 1000) == 0
    clock.now += 1000.0
    assert let_in(shared[2:], 1000) == max(rate, 1)
    assert let_in(shared, 1000) == 0


def test_bytes_are_paid_for_by_all_workers(usages, clock):
    one, other, _ = usages(Limits(bytes_per_second=100))
    one.begin()
    one.count_bytes(80)
    other.begin()
    other.count_bytes(150)
    assert let_in([one, other], 2) == 0
    clock.now += 1.2
    assert let_in([one], 1) == 0
    clock.now += 0.2
    assert let_in([one], 1) == 1


def test_requests_in_flight_are_those_of_all_live_workers(usages, memories):
    one, other, _ = usages(Limits(in_flight=2))
    one.begin()
    other.begin()
    assert let_in([one], 1) == 0
    other.end()
    one.begin()
    assert let_in([other], 1) == 0
    supervisor = memories[0]
    assert [supervisor.take_place() for _ in range(3)] == [0, 1, 2]
    supervisor.leave_place(0)
    assert supervisor.take_place() == 0
    assert let_in([other], 10) == 2


def test_each_name_has_limits_of_its_own_that_may_come_later(usages):
    shared = usages(Limits())
    assert let_in(shared, 100) == 100
    for usage in shared:
        usage.limit(Limits(in_flight=4))
    assert let_in(shared, 100) == 4
    assert let_in(usages(Limits(rate=3.0), "b"), 10) == 3


def test_another_process_sees_the_same_numbers(memories):
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


def test_memory_of_another_size_is_refused(memories):
    with pytest.raises(ValueError, match="another release"):
        UsageMemory(4, memories[0].descriptor, 1)


def test_workers_count_alone_when_lines_or_places_run_out(memories, monkeypatch, caplog):
    monkeypatch.setattr(shared_usage, "_LINES", 2)
    assert [memories[at].numbers_of(name) is not None for at, name in enumerate("aba")] == [True] * 3
    assert [memories[0].numbers_of(name) for name in ("c", "d")] == [None, None]
    assert memories[0].numbers_of("b") is not None
    assert len(caplog.records) == 1
    assert [memories[0].take_place() for _ in range(4)] == [0, 1, 2, None]
    assert len(caplog.records) == 2


def test_gate_shares_what_its_process_shares(tmp_path, memories, monkeypatch):
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
