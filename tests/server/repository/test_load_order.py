"""The order in which versions are tried, without processes and files."""

import dataclasses
import itertools

import pytest

from rnnserve.protos import model_config_pb2
from rnnserve.server.repository.load_order import FIRST_SECONDS, LoadOrder

LIMIT = 60.0


def order(*models: str, versions=(1,), timeout=LIMIT):
    made = LoadOrder(timeout)
    for name in models:
        made.add(name, versions, model_config_pb2.ModelConfig(name=name), 1)
    return made


def taken(made: LoadOrder):
    """Take all that may be tried at the same time."""
    candidates = []
    while (candidate := made.next()) is not None:
        candidates.append(candidate)
    return candidates


def said(candidates):
    return [f"{candidate.name}/{candidate.version}" for candidate in candidates]


def test_one_at_a_time_may_take_all_memory():
    made = order("a", "b", "c", "d")
    first, second, third = [made.next() for _ in range(3)]
    assert [candidate.is_small for candidate in (first, second, third)] == [False, True, True]
    made.passed(first)
    assert not made.next().is_small


def test_what_is_slow_is_tried_after_all_others_and_alone():
    made = order("a", "b", "c", "d")
    slow, other = made.next(), made.next()
    assert made.too_slow(slow)
    rest = taken(made)
    assert said(rest) == ["c/1", "d/1"]
    assert not made.tries_slow
    assert made.too_slow(dataclasses.replace(other, is_small=False))
    assert [candidate.is_small for candidate in rest] == [False, True]
    for candidate in rest:
        assert taken(made) == []  # though one may take all again
        made.end(candidate)
    (again,) = taken(made)
    assert (again.name, again.seconds, again.is_small, made.tries_slow) == ("a", 4 * FIRST_SECONDS, False, True)
    made.end(again)
    assert said(taken(made)) == ["b/1"]


@pytest.mark.parametrize("timeout", [0.2, 1.0, 3.0, 60.0])
def test_no_trial_has_more_time_than_the_limit(timeout):
    made = order("a", "b", timeout=timeout)
    seconds = []
    while (candidate := made.next()) is not None:
        seconds.append(candidate.seconds)
        made.too_slow(candidate)
    assert max(seconds) == timeout
    assert seconds == sorted(seconds)
    assert all(later <= 4 * earlier or later == timeout for earlier, later in itertools.pairwise(seconds))
