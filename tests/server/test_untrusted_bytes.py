"""Readers of bytes from outside take them or refuse them with their documented error, soon and in little memory.

The core reads the kept corpus and a few mutants of it; `make fuzz` reads as many as you like.
"""

import itertools

import pytest

from campaigns.fuzzing.campaign import campaign, corpus_of, try_input
from campaigns.fuzzing.targets import NAMES, prepare_targets


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return prepare_targets(tmp_path_factory.mktemp("targets"))


@pytest.mark.parametrize("name", NAMES)
def test_reader_accepts_or_refuses_any_bytes(targets, name):
    corpus = corpus_of(targets[name])
    assert corpus
    for data in corpus:
        assert try_input(targets[name], data) is None
    for _, finding in itertools.islice(campaign(targets[name], 3), 100):
        assert finding is None, str(finding)
