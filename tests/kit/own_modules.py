"""Modules as users write them, with the calls that publish them: nothing of them is a classifier of ours."""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import Flags, Floats, Integers, Lengths, Publication, scan
from rnnserve.export.description.publication import InputDescription

__all__ = ["PUBLICATIONS", "own_module"]


class Sentiment(nn.Module):
    """Token ids to logits: packed, bidirectional, stacked."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 6)
        self.gru = nn.GRU(6, 5, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, tokens, lengths, h_0):
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.gru(packed, h_0)
        return self.head(torch.cat([h_n[-2], h_n[-1]], 1)), h_n


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


class Step(nn.Module):
    """A policy that acts one step at a time: no sequence axis."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, observation, h):
        h = self.cell(observation, h)
        return self.head(h), h


class MeanOverTheBatch(nn.Module):
    """Every row's answer depends on its neighbours."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 6, batch_first=True)

    def forward(self, x):
        _, h_n = self.gru(x)
        return h_n[0] - h_n[0].mean(0)


class Seq2Seq(nn.Module):
    """Two sequence axes, lengths for the first one only."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.GRU(3, 5, batch_first=True)
        self.decoder = nn.GRU(2, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, source, target, source_lengths):
        packed = pack_padded_sequence(source, source_lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.encoder(packed)
        output, _ = self.decoder(target, h_n)
        return self.head(output)


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


def state(layers: int, hidden: int) -> InputDescription:
    """Describe a state (layers * directions, batch, hidden)."""
    return Floats(("layers * directions", layers), "batch", ("hidden", hidden))


def own_module(kind):
    """Make a module of random weights, the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return kind()


def _sentiment(module):
    return Publication(
        module,
        "sentiment",
        inputs={"tokens": Integers("batch", "sequence", high=50), "lengths": Lengths(), "h_0": state(4, 5)},
        outputs=["logits", "h_n"],
        states={"h_n": "h_0"},
        labels=["bad", "fair", "good"],
    )


def _forecaster(module):
    return Publication(
        module,
        "forecaster",
        inputs={
            "x": Floats("batch", "sequence", ("features", 4)),
            "state": {"h_0": state(1, 8), "c_0": state(1, 8)},
        },
        outputs=["y", "h_n", "c_n"],
        states={"h_n": "h_0", "c_n": "c_0"},
    )


def _tagger(module):
    inputs = {"words": Integers("sequence", "batch", high=40), "lengths": Lengths()}
    return Publication(module, "tagger", inputs=inputs, outputs=["scores", "tags"])


def _mean(module):
    inputs = {"x": Floats("batch", "sequence", 2), "lengths": Lengths()}
    return Publication(module, "mean", inputs=inputs, outputs=["y"])


def _step(module):
    return Publication(
        module,
        "step",
        inputs={"observation": Floats("batch", 3), "h": Floats("batch", 6)},
        outputs=["action", "h_n"],
        states={"h_n": "h"},
    )


def _over_the_batch(module):
    return Publication(module, "over_the_batch", inputs={"x": Floats("batch", "sequence", 2)}, outputs=["y"])


def _seq2seq(module):
    return Publication(
        module,
        "seq2seq",
        inputs={
            "source": Floats("batch", "source", 3),
            "target": Floats("batch", "target", 2),
            "source_lengths": Lengths("source"),
        },
        outputs=["y"],
    )


def _alarm(module):
    inputs = {"x": Floats("batch", "sequence", 2), "lengths": Lengths(), "armed": Flags("batch")}
    return Publication(module, "alarm", inputs=inputs, outputs=["output", "high", "score", "h_n"])


def _single_inside(module):
    return Publication(module, "single_inside", inputs={"x": Floats("batch", "sequence", 2)}, outputs=["output"])


def _scanned(module):
    inputs = {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}
    return Publication(module, "scanned", inputs=inputs, outputs=["output", "h_n"])


def _double(module):
    inputs = {"x": Floats("batch", "sequence", 2, dtype="float64")}
    return Publication(module, "double", inputs=inputs, outputs=["output"])


PUBLICATIONS = {
    "sentiment": (Sentiment, _sentiment),
    "forecaster": (Forecaster, _forecaster),
    "tagger": (Tagger, _tagger),
    "mean": (MeanOverAllSteps, _mean),
    "step": (Step, _step),
    "over_the_batch": (MeanOverTheBatch, _over_the_batch),
    "seq2seq": (Seq2Seq, _seq2seq),
    "alarm": (Alarm, _alarm),
    "single_inside": (SinglePrecisionInside, _single_inside),
    "double": (Double, _double),
    "scanned": (ScannedCell, _scanned),
}
"""By the model's name: a module's class, and the description under which a module of it is published."""
