"""The fuzzer finds planted defects in the readers of bytes from outside. `make fuzz` tries it first."""

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
    """A prefix that is no message of its own is kept."""
    monkeypatch.setattr(templates, "_parse_prefix", lambda *_, **__: pb.ModelInferRequest())


def plant_id_set_again(monkeypatch):
    """An id that is set again, and empty, is overlooked."""
    monkeypatch.setattr(templates, "_LONG_ID_FIELD", b"")
    monkeypatch.setattr(templates, "_LONG_ID", "")


def plant_inputs_not_looked_into(monkeypatch):
    """The fields of inputs and outputs are not counted."""
    monkeypatch.setattr(parsing, "_INPUTS", 4)
    monkeypatch.setattr(parsing, "_OUTPUTS", 4)


def plant_half_as_many(monkeypatch):
    """Requests of few fields are refused."""
    monkeypatch.setattr(parsing, "_MAX_FIELDS", 1024)


def plant_unknown_text(monkeypatch):
    """Text of a client is taken for plain ASCII."""
    monkeypatch.setattr(checking, "quoted", lambda text: text.encode().decode("ascii"))


def plant_memory(monkeypatch):
    """A file takes 400 MB for a moment."""
    monkeypatch.setattr(triton_config, "read_regular", lambda _: (b"x" * (400 << 20))[:0])


def plant_hang(monkeypatch):
    """A file is read without end."""
    monkeypatch.setattr(fuzzing_campaign, "_MOST_SECONDS", 0.05)
    monkeypatch.setattr(triton_config, "read_regular", lambda _: max(iter(int, 1)))


def plant_path(monkeypatch):
    """A message tells the path of the file."""

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
def test_it_finds_a_planted_defect(targets, name, plant, monkeypatch):
    plant(monkeypatch)
    inputs = itertools.islice(campaign(targets[name], SEED), INPUTS)
    assert any(try_input(targets[name], data) for data in corpus_of(targets[name])) or any(found for _, found in inputs)
