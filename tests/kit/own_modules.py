"""Modules as users write them, and the examples, with what publishes them: none of them is a classifier of ours."""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.paths import ROOT
from rnnserve.export import Flags, Floats, Integers, Lengths, Publication, scan


class Forecaster(nn.Module):
    """A regression at each step. Takes a tuple, gives a dict with a tuple in it."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 8, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x, state: tuple[Tensor, Tensor]):
        output, (h_n, c_n) = self.lstm(x, state)
        return {"y": self.head(output), "state": (h_n, c_n)}


class Tagger(nn.Module):
    """Sequence-first. Scores of each step, and their tags as integers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 6)
        self.lstm = nn.LSTM(6, 5, bidirectional=True)
        self.head = nn.Linear(10, 4)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(self.embedding(words), lengths, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], total_length=words.size(0))
        scores = self.head(output)
        return scores, scores.argmax(-1)


class MeanOverAllSteps(nn.Module):
    """Takes lengths and forgets them: the padding counts in the mean."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x, lengths):
        output, _ = self.gru(x)
        return self.head(output.mean(1)) + 0 * lengths[:, None]


class MeanOverTheBatch(nn.Module):
    """Every row's answer depends on its neighbours."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 6, batch_first=True)

    def forward(self, x):
        _, h_n = self.gru(x)
        return h_n[0] - h_n[0].mean(0)


@dataclasses.dataclass
class Decision:
    """What `Alarm` returns."""

    output: Tensor
    high: Tensor
    last: tuple[Tensor, list[Tensor]]


class Alarm(nn.Module):
    """A dataclass with a tuple and a list in it; booleans in and out; an optional parameter in the middle."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, x, scale=None, lengths=None, armed=None, *, sign=1):
        if scale is not None:
            x = x * scale
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output, h_n = self.gru(packed)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.size(1))
        score = sign * self.head(h_n[0])[:, 0]
        return Decision(output, (score > 0) & armed, (score, [h_n[0]]))


class SinglePrecisionInside(nn.Module):
    """Does not run in float64: it casts to float32 inside."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)

    def forward(self, x):
        output, _ = self.gru(x.float())
        return output


class Double(nn.Module):
    """Float64 throughout; without a recurrent layer, since onnxruntime computes those in float32 only."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 5).double()

    def forward(self, x):
        return torch.tanh(self.head(x))


class ScannedCell(nn.Module):
    """A cell in a loop over the steps. Rows keep their state after their lengths."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(3, 5)

    def forward(self, x, lengths):
        zeros = x.new_zeros(x.size(0), 5)

        def step(state, now):
            features, number = now  # (batch, features), ()
            h, c = self.cell(features, state)
            lives = (number < lengths)[:, None]
            state = torch.where(lives, h, state[0]), torch.where(lives, c, state[1])
            return state, state[0]

        (h_n, _), output = scan(step, (zeros, zeros), (x.transpose(0, 1), torch.arange(x.size(1))))
        return output.transpose(0, 1), h_n


STATE = Floats(("layers * directions", 1), "batch", ("hidden", 8))
X = Floats("batch", "sequence", 2)
OWN: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "dict_forecaster": (
        Forecaster,
        {
            "inputs": {"x": Floats("batch", "sequence", ("features", 4)), "state": {"h_0": STATE, "c_0": STATE}},
            "outputs": ["y", "h_n", "c_n"],
            "states": {"h_n": "h_0", "c_n": "c_0"},
        },
    ),
    "step_tagger": (
        Tagger,
        {
            "inputs": {"words": Integers("sequence", "batch", high=40), "lengths": Lengths()},
            "outputs": ["scores", "tags"],
        },
    ),
    "mean": (MeanOverAllSteps, {"inputs": {"x": X, "lengths": Lengths()}, "outputs": ["y"]}),
    "over_the_batch": (MeanOverTheBatch, {"inputs": {"x": X}, "outputs": ["y"]}),
    "alarm": (
        Alarm,
        {
            "inputs": {"x": X, "lengths": Lengths(), "armed": Flags("batch")},
            "outputs": ["output", "high", "score", "h_n"],
        },
    ),
    "single_inside": (SinglePrecisionInside, {"inputs": {"x": X}, "outputs": ["output"]}),
    "double": (Double, {"inputs": {"x": Floats("batch", "sequence", 2, dtype="float64")}, "outputs": ["output"]}),
    "scanned": (
        ScannedCell,
        {"inputs": {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}, "outputs": ["output", "h_n"]},
    ),
}
"""By the model's name: a module's class, and what a publication says of it besides its name."""

EXAMPLE_FILES = sorted((ROOT / "examples").glob("*.py"))


def own_module(kind: Callable[[], nn.Module]) -> nn.Module:
    """Make a module of random weights, the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return kind()


def publication_of(name: str) -> Publication:
    """Describe one of `OWN`, or of the project's examples, which isn't trained for this."""
    if name in OWN:
        kind, described = OWN[name]
        return Publication(own_module(kind), name, **described)
    (path,) = [path for path in EXAMPLE_FILES if path.stem == name]
    spec = importlib.util.spec_from_file_location(f"untrained_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["train"] = lambda *_, **__: None
    with torch.random.fork_rng(devices=[]):
        publication: Publication = module.publication()
    return publication
