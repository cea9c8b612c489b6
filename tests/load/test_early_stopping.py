"""How many of how many requests must meet a limit: against MLPerf LoadGen's numbers."""

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
def test_as_many_requests_must_pass_as_loadgen_says(over, percent, passed):
    assert fewest_passed(over, percent, 0.01) == passed
    assert holds(over, over + passed, percent, 0.01)
    assert not holds(over, over + passed - 1, percent, 0.01)
    assert most_over(over + passed, percent, 0.01) == over
    assert most_over(over + passed - 1, percent, 0.01) == over - 1


def test_few_requests_decide_nothing():
    assert most_over(458, 99, 0.01) == -1
    assert not holds(0, 0, 99, 0.01)
    assert not exceeds(0, 0, 99, 0.01)
    for percent, requests in ((50, 14), (99, 918), (100, 1)):
        assert requests_to_decide(percent, 0.01) == requests


@pytest.mark.parametrize("risk", [0.01, 0.05])
def test_risks_of_all_looks_and_of_the_end_add_up_to_the_whole_risk(risk):
    looks = [risks_at_look(risk, is_holding=look == HOLDING_LOOK) for look in LOOKS]
    end = risks_at_end(risk, has_looks=True)
    assert sum(look.held for look in looks) + end.held == pytest.approx(risk)
    assert sum(look.not_held for look in looks) + end.not_held == pytest.approx(risk)
    assert [look.held > 0 for look in looks] == [False, False, True]
    assert risks_at_end(risk, has_looks=False).held == risk
