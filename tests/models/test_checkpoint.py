"""Checkpoints: what is saved can be loaded, and any damage is named."""

import hashlib
import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from rnnserve.models import (
    LABELS,
    Architecture,
    CheckpointError,
    DirectionClassifier,
    load_checkpoint,
    save_checkpoint,
)
from rnnserve.models.checkpoint import DESCRIPTION, WEIGHTS


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "tiny", DirectionClassifier(hidden=3), name="tiny", labels=LABELS)
    return tmp_path / "tiny"


def describe(folder, **changes):
    """Rewrite the description with other entries; None leaves one out."""
    document = json.loads((folder / DESCRIPTION).read_text()) | changes
    (folder / DESCRIPTION).write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def reweigh(folder, **changes):
    """Rewrite the weights with other tensors, digest included; None leaves one out."""
    state = load_file(folder / WEIGHTS) | {key.replace("__", "."): value for key, value in changes.items()}
    save_file({key: value for key, value in state.items() if value is not None}, folder / WEIGHTS)
    describe(folder, weights_sha256=digest(folder / WEIGHTS))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(),
        Architecture("gru", num_layers=2, features=5),
        Architecture("lstm", bidirectional=True, classes=2),
        Architecture("rnn", "relu", 2, True),
    ],
    ids=str,
)
def test_saved_checkpoint_is_loaded_unchanged(tmp_path, architecture):
    classifier = DirectionClassifier.of(architecture)
    save_checkpoint(tmp_path / "deep" / "er", classifier, name="some.name-1", labels=LABELS)
    loaded = load_checkpoint(tmp_path / "deep" / "er")
    assert loaded.name == "some.name-1"
    assert loaded.labels == LABELS
    assert loaded.training is None
    assert loaded.sha256 == digest(tmp_path / "deep" / "er" / WEIGHTS)
    assert loaded.classifier.architecture == architecture
    assert not loaded.classifier.training
    input = torch.randn(3, 4, architecture.features)
    assert all(torch.equal(a, b) for a, b in zip(loaded.classifier(input), classifier(input), strict=True))


def test_same_classifier_has_the_same_bytes(tmp_path, folder):
    loaded = load_checkpoint(folder)
    save_checkpoint(tmp_path / "again", loaded.classifier, name="tiny", labels=LABELS)
    assert files(tmp_path / "again") == files(folder)
    assert set(files(folder)) == {WEIGHTS, DESCRIPTION}
    assert str(tmp_path).encode() not in b"".join(files(folder).values())


def test_saving_replaces_the_older_checkpoint_completely(folder):
    other = DirectionClassifier(hidden=4)
    save_checkpoint(folder, other, name="tiny", labels=LABELS)
    assert load_checkpoint(folder).classifier.architecture.hidden == 4
    assert [entry.name for entry in folder.parent.iterdir()] == ["tiny"]


def test_folder_with_other_files_is_not_replaced(folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"contains notes\.txt, which are not files of a checkpoint"):
        save_checkpoint(folder, DirectionClassifier(), name="tiny", labels=LABELS)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name is empty"),
        ({"labels": ["one"]}, r"labels are \['one'\], expected 2 different names"),
        ({"labels": ["one", "one"]}, "expected 2 different names"),
        ({"labels": ["one", ""]}, "expected a non-empty name"),
        ({"classifier": DirectionClassifier().double()}, "recurrence.weight_ih_l0 is torch.float64, expected torch.fl"),
        ({"classifier": "broken"}, "head.bias holds NaN or infinity"),
    ],
)
def test_invalid_checkpoint_is_not_written(tmp_path, arguments, message):
    if arguments.get("classifier") == "broken":
        arguments["classifier"] = DirectionClassifier()
        torch.nn.init.constant_(arguments["classifier"].head.bias, float("nan"))
    arguments = {"classifier": DirectionClassifier(), "name": "tiny", "labels": LABELS} | arguments
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path / "new", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_missing_checkpoint_or_file_is_named(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*nowhere; create one with `rnnserve train`"):
        load_checkpoint(tmp_path / "nowhere")
    for name in (WEIGHTS, DESCRIPTION):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            load_checkpoint(folder)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format is 2; this version of rnnserve reads format 1"),
        ({"format": "1"}, "format is '1', expected int"),
        ({"format": None}, "format is missing"),
        ({"name": None}, "name is missing"),
        ({"labels": ["a"]}, "labels are .*expected 2 different names"),
        ({"labels": "ab"}, "labels is 'ab', expected list"),
        ({"labels": [1, 2]}, r"labels are \[1, 2\], expected a non-empty name"),
        ({"architecture": None}, "architecture is missing"),
        ({"architecture": {"cell": "rnn"}}, "architecture.bidirectional is missing"),
        ({"weights_sha256": "0" * 64}, "weights.safetensors does not match checkpoint.json"),
        ({"training": 3}, "training is 3, expected an object or null"),
    ],
)
def test_invalid_description_names_the_entry(folder, changes, message):
    describe(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_invalid_architecture_is_named(folder):
    architecture = json.loads((folder / DESCRIPTION).read_text())["architecture"]
    describe(folder, architecture=architecture | {"cell": "elman"})
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: architecture: cell is 'elman'"):
        load_checkpoint(folder)
    describe(folder, architecture=architecture | {"dropout": 0.5})
    with pytest.raises(CheckpointError, match=r"architecture\.dropout is unknown"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\udcff"])
def test_description_that_is_not_an_object_is_refused(folder, text):
    (folder / DESCRIPTION).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"checkpoint\.json (is not JSON|holds \w+, expected an object)"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head__bias": None}, "weights.safetensors: tensor head.bias is missing"),
        ({"extra": torch.zeros(2)}, "tensor extra belongs to no parameter"),
        (
            {"recurrence__weight_hh_l0": torch.zeros(4, 4)},
            r"recurrence.weight_hh_l0 is \(4, 4\), expected \(3, 3\) for Architecture\(cell='rnn'.*hidden=3",
        ),
        ({"head__bias": torch.zeros(2, dtype=torch.float16)}, "head.bias is torch.float16, expected torch.float32"),
        ({"head__bias": torch.tensor([0, torch.inf])}, "head.bias holds NaN or infinity"),
    ],
)
def test_invalid_weights_name_the_tensor(folder, changes, message):
    reweigh(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_pickle_is_refused(folder):
    (folder / WEIGHTS).write_bytes(pickle.dumps({"head.bias": [0, 0]}))
    describe(folder, weights_sha256=digest(folder / WEIGHTS))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is not in the safetensors format"):
        load_checkpoint(folder)


def test_flipped_byte_of_the_weights_is_detected(folder):
    content = (folder / WEIGHTS).read_bytes()
    for position in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[position] ^= 1
        (folder / WEIGHTS).write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"weights\.safetensors does not match"):
            load_checkpoint(folder)


def files(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}
