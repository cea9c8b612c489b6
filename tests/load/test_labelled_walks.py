import numpy as np
import pytest

from kit.load_tests import direction
from rnnserve.load.labelled_walks import UNKNOWN_CLASS, WALK_LABELS, draw_labelled_walks
from rnnserve.models import LABELS as TRAINED_LABELS
from rnnserve.models import generate_walks


def test_walks_go_in_the_direction_of_their_class():
    lengths = np.arange(1, 200) % 64 + 1
    walks, classes = draw_labelled_walks(lengths, np.random.default_rng(1))
    assert [len(walk) for walk in walks] == lengths.tolist()
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
