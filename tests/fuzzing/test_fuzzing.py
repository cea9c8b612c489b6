"""What reads bytes of others returns or raises its documented error, soon and in little memory, whatever the bytes.

The inputs of `corpus/` are read first, then some thousand mutants of them. `make fuzz` reads as many as one likes.
"""

import itertools

import pytest

from fuzzing.campaign import CORPUS, campaign, corpus_of, try_input
from fuzzing.targets import NAMES, prepare_targets
from rnnserve.protos import golden
from rnnserve.server.boundary import checking, field_counts
from rnnserve.server.lane import prefixes

INPUTS, SEED = 1500, 3


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return prepare_targets(tmp_path_factory.mktemp("targets"))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_of_the_corpus_are_read_as_they_should_be(targets, name):
    corpus = corpus_of(targets[name])
    assert corpus
    for data in corpus:
        assert try_input(targets[name], data) is None


@pytest.mark.parametrize("name", NAMES)
def test_mutants_are_read_as_they_should_be(targets, name):
    for _, finding in itertools.islice(campaign(targets[name], SEED), INPUTS):
        assert finding is None, str(finding)


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000
    assert {path.name for path in CORPUS.iterdir()} == set(NAMES)


def plant_any_start(monkeypatch):
    monkeypatch.setattr(prefixes, "_is_prefix", lambda *_: True)


def plant_groups_not_counted(monkeypatch):
    count = field_counts._count
    monkeypatch.setattr(
        field_counts, "_count", lambda data, *given, has_tensors: 0 if b"\x2a\0\x2a\0" in data else
        count(data, *given, has_tensors=has_tensors),
    )  # fmt: skip


def plant_too_many_counted(monkeypatch):
    monkeypatch.setattr(field_counts, "_MAX_FIELDS", 1024)


def plant_no_cut(monkeypatch):
    monkeypatch.setattr(checking, "quoted", lambda text: text.encode().decode("ascii"))


def plant_no_errors_caught(monkeypatch):
    monkeypatch.setattr(golden, "ArtifactError", type("Other", (Exception,), {}))


def plant_large_arrays(monkeypatch):
    monkeypatch.setattr(golden.io, "BytesIO", lambda data: b"x" * (400 << 20))


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("prefixes", plant_any_start), ("field_counts", plant_groups_not_counted),
        ("field_counts", plant_too_many_counted), ("boundary", plant_no_cut), ("golden", plant_no_errors_caught),
        ("golden", plant_large_arrays),
    ],
)  # fmt: skip
def test_it_finds_a_planted_defect(targets, name, plant, monkeypatch):
    plant(monkeypatch)
    assert any(finding for _, finding in itertools.islice(campaign(targets[name], SEED), INPUTS))
