import numpy as np
import pytest

from rnnserve.load.labelled_walks import UNKNOWN_CLASS, WALK_LABELS, draw_labelled_walks
from rnnserve.models import LABELS as TRAINED_LABELS
from rnnserve.models import generate_walks


def direction(walk):
    """1 clockwise, 0 counter-clockwise, by the turn from the first corner to the second."""
    (a, b), (c, d) = walk[:2]
    return int(a * d - b * c < 0)


def test_walks_go_where_they_are_said_to():
    walks, classes = draw_labelled_walks(np.arange(1, 200) % 64 + 1, np.random.default_rng(1))
    assert [len(walk) for walk in walks] == (np.arange(1, 200) % 64 + 1).tolist()
    for walk, class_ in zip(walks, classes, strict=True):
        assert walk.dtype == np.float32
        assert class_ == (UNKNOWN_CLASS if len(walk) == 1 else direction(walk))
    assert {0, 1} <= set(classes.tolist())


def test_walks_and_labels_are_those_of_the_training():
    assert WALK_LABELS == TRAINED_LABELS
    trained, classes = generate_walks(500, min_length=2, max_length=30, seed=1)
    assert [direction(walk) for walk in trained] == classes.tolist()
    walks, _ = draw_labelled_walks(np.full(500, 20), np.random.default_rng(2))
    spread = np.concatenate(walks).std(axis=0)
    assert spread == pytest.approx(np.concatenate(trained).std(axis=0), rel=0.1)
