"""How many of how many must pass: against MLPerf LoadGen's numbers, and by simulation."""

import numpy as np
import pytest

from rnnserve.load.early_stopping import (
    HOLDING_LOOK,
    LOOKS,
    exceeds,
    fewest_passed,
    holds,
    most_over,
    requests_to_decide,
    risks_at_end,
    risks_at_look,
)


@pytest.mark.parametrize(
    ("over", "percent", "passed"),
    [
        # The queries that LoadGen asks for at 99% confidence: 459 with none over the limit, 662 with one at a p99, and
        # 64 with one at a p90.
        (0, 99, 459),
        (1, 99, 662 - 1),
        (1, 90, 64 - 1),
        (0, 50, 7),
        (0, 99.9, 4603),
    ],
)
def test_as_many_must_pass_as_loadgen_says(over, percent, passed):
    assert fewest_passed(over, percent, 0.01) == passed
    assert holds(over, over + passed, percent, 0.01)
    assert not holds(over, over + passed - 1, percent, 0.01)


@pytest.mark.parametrize("percent", [50, 90, 99])
@pytest.mark.parametrize("over", [0, 1, 5, 100])
def test_as_many_may_exceed_the_limit(percent, over):
    total = fewest_passed(over, percent, 0.01) + over
    assert most_over(total, percent, 0.01) == over
    assert most_over(total - 1, percent, 0.01) == over - 1


def test_few_requests_decide_nothing():
    assert most_over(458, 99, 0.01) == -1
    assert not holds(0, 0, 99, 0.01)
    assert not exceeds(0, 0, 99, 0.01)


@pytest.mark.parametrize(("percent", "requests"), [(50, 14), (99, 918), (100, 1)])
def test_a_search_begins_where_it_can_be_decided(percent, requests):
    assert requests_to_decide(percent, 0.01) == requests


@pytest.mark.parametrize("risk", [0.01, 0.05])
def test_the_risks_of_all_looks_and_of_the_end_are_the_whole_risk(risk):
    looks = [risks_at_look(risk, is_holding=look == HOLDING_LOOK) for look in LOOKS]
    end = risks_at_end(risk, has_looks=True)
    assert sum(look.held for look in looks) + end.held == pytest.approx(risk)
    assert sum(look.not_held for look in looks) + end.not_held == pytest.approx(risk)
    assert [look.held > 0 for look in looks] == [False, False, True]
    assert risks_at_end(risk, has_looks=False).held == risk


RISK = 0.05


def decide(exceeded, *, careful=True):
    """Decide one test as a load does: at the looks, then at its end; exceeded is (requests,) bool."""
    for look in LOOKS if careful else np.linspace(0.1, 1, 50):
        risks = risks_at_look(RISK, is_holding=look == HOLDING_LOOK)
        held, not_held = (risks.held, risks.not_held) if careful else (RISK, RISK)
        seen = exceeded[: int(len(exceeded) * look)]
        if holds(int(seen.sum()), len(seen), 90, held):
            return "held"
        if exceeds(int(seen.sum()), len(seen), 90, not_held):
            return "not held"
    end = risks_at_end(RISK, has_looks=True)
    if holds(int(exceeded.sum()), len(exceeded), 90, end.held):
        return "held"
    return "not held" if exceeds(int(exceeded.sum()), len(exceeded), 90, end.not_held) else "undecided"


@pytest.mark.parametrize("wrong", ["held", "not held"])
def test_decisions_are_wrong_as_seldom_as_the_risk_says(wrong):
    """A tenth of the requests exceeds the limit, so that both decisions about the p90 are wrong: the worst case."""
    random = np.random.default_rng(11)
    decisions = [decide(random.random(1000) < 0.1) for _ in range(1000)]
    assert 0.01 < decisions.count(wrong) / 1000 <= RISK  # not so careful that nothing is ever decided


def test_a_test_that_is_repeated_without_care_is_wrong_more_often():
    """What the division of the risk is for: without it, the same simulation finds decisions that are wrong."""
    random = np.random.default_rng(11)
    decisions = [decide(random.random(1000) < 0.1, careful=False) for _ in range(200)]
    assert decisions.count("held") / 200 > 2 * RISK


@pytest.mark.parametrize(("fraction", "right"), [(0.05, "held"), (0.16, "not held")])
def test_what_is_far_from_the_limit_is_decided(fraction, right):
    random = np.random.default_rng(12)
    decisions = [decide(random.random(1000) < fraction) for _ in range(100)]
    assert decisions.count(right) >= 99
