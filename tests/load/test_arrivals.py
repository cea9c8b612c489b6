import numpy as np
import pytest

from rnnserve.load.arrivals import draw_schedule


def made(arrivals, rate, seconds, parts=1, seed=1):
    return [
        draw_schedule(arrivals, rate, seconds, random=np.random.default_rng([seed, part]), part=part, parts=parts)
        for part in range(parts)
    ]


def test_constant_arrivals_tick():
    assert made("constant", 4, 1)[0].tolist() == [0, 250_000_000, 500_000_000, 750_000_000]


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_generators_take_turns_at_constant_arrivals(parts):
    shares = made("constant", 1000, 2, parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(shares)), made("constant", 1000, 2)[0])


@pytest.mark.parametrize("parts", [1, 3])
def test_poisson_arrivals_have_the_rate_and_exponential_gaps(parts):
    times = np.sort(np.concatenate(made("poisson", 1000, 20, parts)))
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = np.diff(times)
    # Mean and standard deviation of an exponential distribution are the same.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert gaps.mean() == pytest.approx(1e6, rel=0.03)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("gap_cv", [0.5, 1.0, 3.0])
def test_gamma_arrivals_have_the_rate_and_the_variation_of_their_gaps(gap_cv, parts):
    """Also those of several generators together, which take turns in one schedule."""
    shares = [
        draw_schedule("gamma", 1000, 60, random=np.random.default_rng(5), part=part, parts=parts, gap_cv=gap_cv)
        for part in range(parts)
    ]
    times = np.sort(np.concatenate(shares))
    gaps = np.diff(times)
    assert len(times) == pytest.approx(60_000, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(gap_cv, rel=0.05)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("arrivals", ["poisson", "gamma", "constant"])
@pytest.mark.parametrize("rate", [0.01, 1, 333.3])
def test_times_ascend_and_end_in_time(arrivals, rate):
    times = made(arrivals, rate, 3)[0]
    assert times.dtype == np.int64
    assert (np.diff(times) >= 0).all()
    assert not times.size or (times[0] >= 0 and times[-1] < 3e9)


def test_a_short_first_draw_is_continued():
    class Hasty:
        """Draws gaps of a tenth of what they should be."""

        def exponential(self, mean, size):
            return np.full(size, mean / 10)

    times = draw_schedule("poisson", 1000, 1, random=Hasty())  # type: ignore[arg-type]
    assert len(times) == pytest.approx(10_000, abs=1)
