"""Decisions of simulated load tests: wrong as seldom as the risk says."""

import numpy as np

from rnnserve.load.early_stopping import HOLDING_LOOK, LOOKS, exceeds, holds, risks_at_end, risks_at_look

RISK = 0.05


def decide(exceeded, *, careful=True):
    """Decide as a load test does: at its looks, then at its end. Exceeded is (requests,) bool."""
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


def decisions(fraction, count, **settings):
    """Decisions about the p90 of loads of which a fraction of the requests exceeds the limit."""
    random = np.random.default_rng(11)
    return [decide(random.random(1000) < fraction, **settings) for _ in range(count)]


def test_decisions_are_wrong_as_seldom_as_the_risk_says():
    found = decisions(0.1, 1000)  # the worst case: both decisions are wrong
    for wrong in ("held", "not held"):
        assert 0.01 < found.count(wrong) / 1000 <= RISK  # not so careful that nothing is ever decided
    careless = decisions(0.1, 200, careful=False)
    assert careless.count("held") / 200 > 2 * RISK, "the division of the risk is what keeps it"


def test_load_far_from_the_limit_is_decided():
    assert decisions(0.05, 100).count("held") >= 99
    assert decisions(0.16, 100).count("not held") >= 99
