"""From any module to its answers, with the client alone: `publish`, the server, `predict`, and the two commands."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from kit.own_modules import publication_of
from rnnserve.cli import main
from rnnserve.client import Client, InvalidRequest
from rnnserve.export import publish
from rnnserve.server.testing import serve

NAMES = ("sentiment", "dict_forecaster", "seq2seq", "policy")


@pytest.fixture(scope="module")
def modules():
    """The modules, by name."""
    return {name: publication_of(name).module.eval() for name in NAMES}


@pytest.fixture(scope="module")
def published(modules, tmp_path_factory):
    """The repository with all of them, for at most 12 steps."""
    folder = tmp_path_factory.mktemp("any") / "repository"
    for name, module in modules.items():
        publication = dataclasses.replace(publication_of(name), module=module)
        axes = {axis for each in publication.inputs.values() for axis, _ in getattr(each, "axes", ())}
        sizes = dict.fromkeys(axes & {"sequence", "source", "target"}, (1, 12))
        publish(dataclasses.replace(publication, sizes=sizes), repository=folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def address(published):
    with serve(published) as server:
        yield server.address


@pytest.fixture(scope="module")
def client(address):
    with Client(address) as client:
        yield client


def eager(module, *arrays):
    """Compute one row at a time. The arrays have their batch axis."""
    with torch.no_grad():
        return module(*(torch.as_tensor(array) for array in arrays))


def drawn(seed, *lengths, features):
    random = np.random.default_rng(seed)
    return [random.normal(size=(length, features)).astype(np.float32) for length in lengths]


def test_token_ids_of_any_length_are_answered(client, modules):
    random = np.random.default_rng(1)
    rows = [random.integers(0, 1000, length).tolist() for length in (1, 7, 12, 3)]
    found = client.predict("sentiment", rows)
    classified = client.classify("sentiment", rows)
    for row, prediction, result in zip(rows, found, classified, strict=True):
        scores, _ = eager(modules["sentiment"], [row], [len(row)], np.zeros((4, 1, 32), np.float32))
        np.testing.assert_allclose(prediction["logits"], scores[0], atol=2e-6)
        assert result.label == ["negative", "positive"][scores[0].argmax()]
    with pytest.raises(InvalidRequest, match=r'"tokens" is 1000 at \[1, 0\]'):
        client.predict("sentiment", [[1, 2], [1000]])
    with pytest.raises(InvalidRequest, match=r"sequence 0 is 1.5 at \[0\], but the model takes int64"):
        client.predict("sentiment", [[1.5]])


def test_rows_continue_from_their_states(client, modules):
    rows = drawn(2, 6, 3, 6, features=4)
    first = client.predict("dict_forecaster", [row[:2] for row in rows])
    second = client.predict("dict_forecaster", [row[2:] for row in rows], continue_from=first)
    for row, beginning, end in zip(rows, first, second, strict=True):
        with torch.no_grad():
            whole = modules["dict_forecaster"](
                torch.from_numpy(row[None]), (torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))
            )
        np.testing.assert_allclose(np.concatenate([beginning["y"], end["y"]]), whole["y"][0], atol=2e-6)
        for name, state in zip(("h_n", "c_n"), whole["state"], strict=True):
            np.testing.assert_allclose(end[name], state[:, 0], atol=2e-6)


def test_two_inputs_have_separate_lengths(client, modules):
    sources, targets = [[3], [1, 4, 2], [5]], [[1, 2], [2], [0, 3]]
    answers = client.predict("seq2seq", {"source": sources, "target": targets})
    for source, target, found in zip(sources, targets, answers, strict=True):
        scores = eager(modules["seq2seq"], [source], [len(source)], [target])
        np.testing.assert_allclose(found["logits"], scores[0], atol=2e-6)


def test_model_of_single_steps_is_served_step_by_step(client, modules):
    found, memory = None, np.zeros((2, 16), np.float32)
    for observations in drawn(5, 2, 2, 2, features=2):  # each (batch, features)
        found = client.predict("policy", observations, continue_from=found)
        logits, memory = eager(modules["policy"], observations, memory)
        np.testing.assert_allclose([row["logits"] for row in found], logits, atol=2e-6)
        np.testing.assert_allclose([row["h_next"] for row in found], memory, atol=2e-6)


def test_load_sends_to_every_model_and_compares_the_answers(address, capsys):
    words = ["--closed", "4", "--duration", "60", "--max-requests", "1500", "--warmup", "0"]
    assert main(["load", "--url", address, *words, "--length", "1:3", "--batch", "1:2", "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    (point,) = said["points"]
    assert {model["name"] for model in said["models"]} == set(NAMES)
    assert point["answers"]["compared"] > 500
    assert point["answers"]["different"] == 0


@pytest.mark.parametrize("name", ["sentiment", "seq2seq"])
def test_load_compares_answers_with_the_golden_results(address, published, capsys, name):
    words = ["--closed", "2", "--duration", "60", "--max-requests", "100", "--warmup", "0", "--batch", "1:4"]
    golden = published / name / "1" / "golden.npz"
    status = main(["load", name, "--url", address, *words, "--inputs", str(golden), "--json", "-"])
    said = capsys.readouterr()
    assert status == 0, said.err
    (point,) = json.loads(said.out)["points"]
    assert (point["answers"]["compared"], point["answers"]["different"]) == (point["rows"], 0)
