from typing import Any

import numpy as np
import pytest

from rnnserve.load.arrivals import draw_schedule


def drawn(arrivals, rate, seconds, parts=1, **settings):
    """The schedule of each generator. Those of gamma arrivals take turns in one schedule, and draw the same."""
    seeds = [5 if arrivals == "gamma" else (5, part) for part in range(parts)]
    return [
        draw_schedule(arrivals, rate, seconds, random=np.random.default_rng(seed), part=part, parts=parts, **settings)
        for part, seed in enumerate(seeds)
    ]


def test_constant_arrivals_tick_and_generators_take_turns():
    assert drawn("constant", 4, 1)[0].tolist() == [0, 250_000_000, 500_000_000, 750_000_000]
    for parts in (2, 3, 5):
        together = np.sort(np.concatenate(drawn("constant", 1000, 2, parts)))
        np.testing.assert_array_equal(together, drawn("constant", 1000, 2)[0])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(
    ("arrivals", "settings", "variation"),
    [("poisson", {}, 1.0), ("gamma", {"gap_cv": 0.5}, 0.5), ("gamma", {"gap_cv": 3.0}, 3.0)],
)
def test_random_arrivals_have_the_rate_and_the_variation_of_their_gaps(arrivals, settings, variation, parts):
    shares = drawn(arrivals, 1000, 60, parts, **settings)
    gaps = np.diff(np.sort(np.concatenate(shares)))
    assert len(gaps) == pytest.approx(60_000, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.05)
    if arrivals == "gamma":
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("arrivals", ["poisson", "gamma", "constant"])
def test_times_ascend_and_end_in_time(arrivals):
    for rate in (0.01, 1, 333.3):
        times = drawn(arrivals, rate, 3)[0]
        assert times.dtype == np.int64
        assert (np.diff(times) >= 0).all()
        assert not times.size or (times[0] >= 0 and times[-1] < 3e9)


def test_short_first_draw_is_continued():
    class Hasty:
        """Draws gaps of a tenth of what they should be."""

        def exponential(self, mean, size):
            return np.full(size, mean / 10)

    hasty: Any = Hasty()
    assert len(draw_schedule("poisson", 1000, 1, random=hasty)) == pytest.approx(10_000, abs=1)
