"""The fuzzer finds planted defects in readers of untrusted bytes. `make fuzz` runs this test first."""

import itertools

import pytest

from campaigns.fuzzing import campaign as fuzzing_campaign
from campaigns.fuzzing.campaign import campaign, corpus_of, try_input
from campaigns.fuzzing.targets import prepare_targets
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import triton_config
from rnnserve.server.fast_path import templates
from rnnserve.server.validation import checking, parsing

INPUTS, SEED = 1500, 3


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return prepare_targets(tmp_path_factory.mktemp("targets"))


def plant_any_start(monkeypatch):
    """Keep a prefix that isn't a complete message."""
    monkeypatch.setattr(templates, "_parse_prefix", lambda *_, **__: pb.ModelInferRequest())


def plant_id_set_again(monkeypatch):
    """Ignore that an id is set again to an empty text."""
    monkeypatch.setattr(templates, "_LONG_ID_FIELD", b"")
    monkeypatch.setattr(templates, "_LONG_ID", "")


def plant_inputs_not_looked_into(monkeypatch):
    """Don't count the fields of inputs and outputs."""
    monkeypatch.setattr(parsing, "_INPUTS", 4)
    monkeypatch.setattr(parsing, "_OUTPUTS", 4)


def plant_half_as_many(monkeypatch):
    """Refuse requests with few fields."""
    monkeypatch.setattr(parsing, "_MAX_FIELDS", 1024)


def plant_unknown_text(monkeypatch):
    """Treat a client's text as plain ASCII."""
    monkeypatch.setattr(checking, "quoted", lambda text: text.encode().decode("ascii"))


def plant_memory(monkeypatch):
    """Use 400 MB for a moment while reading a file."""
    monkeypatch.setattr(triton_config, "read_regular", lambda _: (b"x" * (400 << 20))[:0])


def plant_hang(monkeypatch):
    """Read a file endlessly."""
    monkeypatch.setattr(fuzzing_campaign, "_MOST_SECONDS", 0.05)
    monkeypatch.setattr(triton_config, "read_regular", lambda _: max(iter(int, 1)))


def plant_path(monkeypatch):
    """Put the file's path into a message."""

    def told(path):
        raise triton_config.ConfigError(f"{path}: cannot be read")

    monkeypatch.setattr(triton_config, "read_regular", told)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("prefixes", plant_any_start), ("prefixes", plant_id_set_again), ("field_counts", plant_inputs_not_looked_into),
        ("field_counts", plant_half_as_many), ("validation", plant_unknown_text), ("config", plant_memory),
        ("config", plant_hang), ("config", plant_path),
    ],
)  # fmt: skip
def test_campaign_finds_a_planted_defect(targets, name, plant, monkeypatch):
    plant(monkeypatch)
    inputs = itertools.islice(campaign(targets[name], SEED), INPUTS)
    assert any(try_input(targets[name], data) for data in corpus_of(targets[name])) or any(found for _, found in inputs)
