"""From any module to its answers, with the client alone: `publish`, the server, `predict`, and the two commands."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.cli import main
from rnnserve.client import Client, InvalidRequest
from rnnserve.export import Floats, Integers, Lengths, publish
from rnnserve.server.testing import serve


class Sentiment(nn.Module):
    """Token ids (batch, sequence) with lengths, packed."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.gru = nn.GRU(6, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        _, h_n = self.gru(packed)
        return self.head(torch.cat((h_n[0], h_n[1]), dim=1))


class Forecaster(nn.Module):
    """Sequence-first: (sequence, batch, features), with states in and out."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 5)

    def forward(self, x, h, c):
        y, (h_n, c_n) = self.lstm(x, (h, c))
        return y, h_n, c_n


class Translator(nn.Module):
    """Two inputs, each with a sequence axis of its own."""

    def __init__(self):
        super().__init__()
        self.source_embedding, self.target_embedding = nn.Embedding(9, 4), nn.Embedding(9, 4)
        self.encoder, self.decoder = nn.GRU(4, 6, batch_first=True), nn.GRU(4, 6, batch_first=True)

    def forward(self, source, target):
        _, h_n = self.encoder(self.source_embedding(source))
        y, _ = self.decoder(self.target_embedding(target), h_n)
        return y


class Policy(nn.Module):
    """One step: (batch, features), with the state (batch, hidden) in and out."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, observation, memory):
        memory = self.cell(observation, memory)
        return self.head(memory), memory


class Average(nn.Module):
    """A mean over all steps, which padding would change."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(2, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0].mean(dim=1)


def state(*axes):
    return Floats(*axes, "batch", ("hidden", 5))


PUBLISHED: dict[str, tuple[type[nn.Module], dict, list[str], dict]] = {
    "sentiment": (
        Sentiment,
        {"tokens": Integers("batch", "sequence", high=20), "lengths": Lengths()},
        ["scores"],
        {"labels": ["bad", "so so", "good"]},
    ),
    "forecaster": (
        Forecaster,
        {"x": Floats("sequence", "batch", ("features", 2)), "h": state(("layers", 1)), "c": state(("layers", 1))},
        ["y", "h_n", "c_n"],
        {"states": {"h_n": "h", "c_n": "c"}},
    ),
    "translator": (
        Translator,
        {"source": Integers("batch", "source", high=9), "target": Integers("batch", "target", high=9)},
        ["y"],
        {},
    ),
    "policy": (
        Policy,
        {"observation": Floats("batch", ("features", 3)), "memory": Floats("batch", ("hidden", 4))},
        ["action", "next"],
        {"states": {"next": "memory"}},
    ),
    "average": (Average, {"x": Floats("batch", "sequence", ("features", 2))}, ["mean"], {}),
}


@pytest.fixture(scope="module")
def modules():
    """The modules, by name."""
    torch.manual_seed(3)
    return {name: module().eval() for name, (module, *_) in PUBLISHED.items()}


@pytest.fixture(scope="module")
def published(modules, tmp_path_factory):
    """The repository with all of them."""
    folder = tmp_path_factory.mktemp("any") / "repository"
    for name, (_, inputs, outputs, more) in PUBLISHED.items():
        sizes = dict.fromkeys(("sequence", "source", "target"), (1, 12))
        used = {axis for tensor in inputs.values() for axis, size in tensor.axes if size < 0}
        publish(
            modules[name],
            name,
            repository=folder,
            inputs=inputs,
            outputs=outputs,
            sizes={axis: size for axis, size in sizes.items() if axis in used},
            progress=False,
            **more,
        )
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
        found = module(*(torch.as_tensor(array) for array in arrays))
    return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]


def test_token_ids_of_any_lengths(client, modules):
    random = np.random.default_rng(1)
    rows = [random.integers(0, 20, length).tolist() for length in (1, 7, 12, 3)]
    found = client.predict("sentiment", rows)
    classified = client.classify("sentiment", rows)
    for row, prediction, result in zip(rows, found, classified, strict=True):
        (scores,) = eager(modules["sentiment"], [row], [len(row)])
        np.testing.assert_allclose(prediction["scores"], scores[0], atol=2e-6)
        assert result.label == ["bad", "so so", "good"][scores[0].argmax()]
    with pytest.raises(InvalidRequest, match=r'"tokens" is 20 at \[1, 0\]'):
        client.predict("sentiment", [[1, 2], [20]])
    with pytest.raises(InvalidRequest, match=r"sequence 0 is 1.5 at \[0\], but the model takes int64"):
        client.predict("sentiment", [[1.5]])


def test_sequence_first_rows_continue_from_their_states(client, modules):
    random = np.random.default_rng(2)
    rows = [random.normal(size=(length, 2)).astype(np.float32) for length in (6, 3, 6)]
    first = client.predict("forecaster", [row[:2] for row in rows])
    second = client.predict("forecaster", [row[2:] for row in rows], continue_from=first)
    zeros = np.zeros((1, 1, 5), np.float32)
    for row, beginning, end in zip(rows, first, second, strict=True):
        y, h_n, c_n = eager(modules["forecaster"], row[:, None], zeros, zeros)
        np.testing.assert_allclose(np.concatenate([beginning["y"], end["y"]]), y[:, 0], atol=2e-6)
        np.testing.assert_allclose(end["h_n"], h_n[:, 0], atol=2e-6)
        np.testing.assert_allclose(end["c_n"], c_n[:, 0], atol=2e-6)


def test_two_inputs_with_lengths_of_their_own(client, modules):
    sources, targets = [[1], [2, 3, 4], [5]], [[6, 7], [8], [1, 2]]
    for source, target, found in zip(
        sources, targets, client.predict("translator", {"source": sources, "target": targets}), strict=True
    ):
        (y,) = eager(modules["translator"], [source], [target])
        np.testing.assert_allclose(found["y"], y[0], atol=2e-6)


def test_one_step_after_another(client, modules):
    random = np.random.default_rng(4)
    steps = random.normal(size=(3, 2, 3)).astype(np.float32)  # (steps, batch, features)
    found, memory = None, np.zeros((2, 4), np.float32)
    for observations in steps:
        found = client.predict("policy", observations, continue_from=found)
        action, memory = eager(modules["policy"], observations, memory)
        np.testing.assert_allclose([row["action"] for row in found], action, atol=2e-6)
        np.testing.assert_allclose([row["next"] for row in found], memory, atol=2e-6)


def test_rows_of_unequal_lengths_of_a_model_that_cannot_be_padded(client, modules):
    assert client.metadata("average").batching == "joined"
    random = np.random.default_rng(5)
    rows = [random.normal(size=(length, 2)).astype(np.float32) for length in (5, 2, 5, 9)]
    for row, found in zip(rows, client.predict("average", rows), strict=True):
        np.testing.assert_allclose(found["mean"], eager(modules["average"], row[None])[0][0], atol=2e-6)


def test_infer_prints_any_models_answers(address, capsys, tmp_path):
    (tmp_path / "rows.json").write_text('{"source": [[1], [2, 3, 4]], "target": [[6, 7], [8]]}')
    words = ["infer", "translator", str(tmp_path / "rows.json"), "--url", address]
    assert main([*words, "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [np.shape(row["outputs"]["y"]) for row in said["sequences"]] == [(2, 6), (1, 6)]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["0", "1", "2x6", "float32"]


def test_load_asks_every_model_and_compares_its_answers(address, capsys):
    words = ["--closed", "4", "--duration", "60", "--max-requests", "1500", "--warmup", "0"]
    assert main(["load", "--url", address, *words, "--length", "1:3", "--batch", "1:2", "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    (point,) = said["points"]
    assert {model["name"] for model in said["models"]} == set(PUBLISHED)
    assert point["answers"]["compared"] > 500
    assert point["answers"]["different"] == 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_load_compares_with_the_golden_results_of_the_version(address, published, capsys, name):
    words = ["--closed", "2", "--duration", "60", "--max-requests", "100", "--warmup", "0", "--batch", "1:4"]
    golden = published / name / "1" / "golden.npz"
    status = main(["load", name, "--url", address, *words, "--inputs", str(golden), "--json", "-"])
    said = capsys.readouterr()
    assert status == 0, said.err
    (point,) = json.loads(said.out)["points"]
    assert (point["answers"]["compared"], point["answers"]["different"]) == (point["rows"], 0)
