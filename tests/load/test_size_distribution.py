import numpy as np
import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.size_distribution import parse_size_distribution, parse_weights


def test_sizes_are_one_a_range_or_weighted():
    for text, sizes, probabilities in (
        ("16", (16,), (1,)),
        ("2:4", (2, 3, 4), (1 / 3, 1 / 3, 1 / 3)),
        ("7:7", (7,), (1,)),
        ("4=3,16=1", (4, 16), (0.75, 0.25)),
        ("1, 2=0.5", (1, 2), (2 / 3, 1 / 3)),
    ):
        distribution = parse_size_distribution(text)
        assert distribution.sizes == sizes
        assert distribution.probabilities == pytest.approx(probabilities)
    assert parse_weights(["a=3", "b"]) == {"a": 3.0, "b": 1.0}


def test_other_sizes_are_refused():
    for text in ("", "0", "-1", "4:", ":4", "5:4", "a", "4=0", "4=-1", "4=inf", "4=nan", "4,4", "1.5"):
        with pytest.raises(InvalidRequest):
            parse_size_distribution(text)


def test_draws_follow_the_weights():
    drawn = parse_size_distribution("4=3,16=1").draw(np.random.default_rng(1), 4000)
    assert set(drawn.tolist()) == {4, 16}
    assert (drawn == 4).mean() == pytest.approx(0.75, abs=0.03)
