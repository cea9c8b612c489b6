"""Ordinary modules whose export goes wrong without a word, and the values on which it does.

Each was published, proven and wrong once, or is a neighbour of one that was: constants that an optimiser takes for
zero, translations that overflow, states that are learned, rows that mix for one rare id, values that are not finite.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch has it
from torch import nn

from rnnserve.export import Floats, Integers

__all__ = ["DELICATE", "Delicate"]

FEATURES, HIDDEN = 4, 6
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Delicate:
    """A module, its description, and requests.

    Attributes:
        make: Makes the module.
        inputs: Its inputs, as `publish` takes them.
        outputs: Names of its outputs.
        requests: Makes requests, each arrays by input name.
        more: Further arguments of `publish`.
        refused: What the words say with which it is refused; empty where it is served, and right.
    """

    make: Callable[[], nn.Module]
    inputs: Mapping[str, Any]
    outputs: list[str]
    requests: Callable[[np.random.Generator], list[Arrays]]
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    refused: str = ""


class FrontEnd(nn.Module):
    """A front end that works on features (batch, sequence, features), and a recurrent layer after it."""

    def __init__(
        self, front: Callable[[torch.Tensor], torch.Tensor], cell: Callable[..., nn.RNNBase], features: int = FEATURES
    ):
        super().__init__()
        self.front = front
        self.cell = cell(features, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, x):
        y, _ = self.cell(self.front(x))
        return self.head(y)


class MinGru(nn.Module):
    """The parallel form of Feng et al., "Were RNNs all we needed?" (2024): a scan in the log domain."""

    def __init__(self):
        super().__init__()
        self.gate, self.candidate = nn.Linear(FEATURES, HIDDEN), nn.Linear(FEATURES, HIDDEN)

    def forward(self, x):
        gate, candidate = self.gate(x), self.candidate(x)
        log_forget = -F.softplus(gate)
        log_candidate = torch.where(candidate >= 0, torch.log(F.relu(candidate) + 0.5), -F.softplus(-candidate))
        sums = torch.cumsum(log_forget, dim=1)
        return torch.exp(sums + torch.logcumsumexp(-F.softplus(-gate) + log_candidate - sums, dim=1))


class LearnedState(nn.Module):
    """Starts from a learned state where none is given."""

    def __init__(self, cell: Callable[..., nn.RNNBase]):
        super().__init__()
        self.cell = cell(FEATURES, HIDDEN, batch_first=True)
        self.first = nn.Parameter(torch.randn(1, 1, HIDDEN))

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None):
        if h is None:
            h = self.first.expand(1, x.size(0), HIDDEN).contiguous()
        return self.cell(x, h)


class LearnedLstm(nn.Module):
    """The same with the two states of an LSTM, of which one is learned."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.first = nn.Parameter(torch.randn(1, 1, HIDDEN))

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None, c: torch.Tensor | None = None):
        if h is None:
            h = torch.zeros(1, x.size(0), HIDDEN, dtype=x.dtype)
        if c is None:
            c = self.first.expand(1, x.size(0), HIDDEN).contiguous()
        y, (h_n, c_n) = self.cell(x, (h, c))
        return y, h_n, c_n


class Tokens(nn.Module):
    """Token ids through an embedding and a GRU; `change` may look at all of them."""

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ids: int):
        super().__init__()
        self.change = change
        self.embedding = nn.Embedding(ids, FEATURES)
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, tokens):
        y, _ = self.cell(self.change(tokens, self.embedding(tokens)))
        return y[:, -1]


class Largest(nn.Module):
    """The largest entries of a hidden state, with their places: ties where the input is constant."""

    def __init__(self):
        super().__init__()
        self.cell = nn.RNN(FEATURES, HIDDEN, batch_first=True, nonlinearity="relu")

    def forward(self, x):
        return torch.topk(self.cell(x)[0], 3, dim=-1)


class SelfAttention(nn.Module):
    """Gives its weights, too: (batch, sequence, sequence)."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        y, _ = self.cell(x)
        weights = torch.softmax(y @ y.transpose(1, 2), dim=-1)
        return weights @ y, weights


class Free(nn.Module):
    """A step of a generator: all that it takes is its state."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(HIDDEN, HIDDEN)

    def forward(self, h):
        return self.cell(h, h)


class Strided(nn.Module):
    """A convolution whose output has an eighth of the steps."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(FEATURES, HIDDEN, 8, stride=8)
        self.cell = nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, x):
        return self.cell(self.convolution(x.transpose(1, 2)).transpose(1, 2))[0]


def _floats(random: np.random.Generator, *, steps: int = 8, long: tuple[int, ...] = ()) -> list[Arrays]:
    """Silence, constants, silence between sounds, tiny and large values, and long sequences, besides normal ones."""

    def normal(steps: int, scale: float = 1.0) -> np.ndarray:
        return (scale * random.standard_normal((1, steps, FEATURES))).astype(np.float32)

    between = normal(steps)
    between[:, 2:6] = 0
    constant = np.full((1, steps, FEATURES), 0.7, np.float32)
    return [
        {"x": value}
        for value in (
            normal(steps),
            np.zeros_like(between),
            between,
            constant,
            -constant,
            *(normal(steps, scale) for scale in (1e-20, 1e-10, 1e-4, 30, 1000)),
            *(np.full((1, steps, FEATURES), value, np.float32) for value in (-100, -20, 20, 100)),
            *(normal(length) for length in long),
        )
    ]


def _tokens(random: np.random.Generator, ids: int, *rare: int) -> list[Arrays]:
    usual = random.integers(0, ids, (3, 1, 7))
    with_rare = [np.array([[1, at, 2, 3]]) for at in (0, ids - 1, *rare)]
    return [{"tokens": value.astype(np.int64)} for value in (*usual, *with_rare)]


def _front(
    front: Callable[[torch.Tensor], torch.Tensor], cell: Callable[..., nn.RNNBase], refused: str = ""
) -> Delicate:
    inputs = {"x": Floats("batch", "sequence", ("features", FEATURES))}
    return Delicate(lambda: FrontEnd(front, cell), inputs, ["y"], _floats, refused=refused)


def _x(make: Callable[[], nn.Module], outputs: list[str], **more: Any) -> Delicate:
    inputs = {"x": Floats("batch", "sequence", ("features", FEATURES))}
    requests, refused = more.pop("requests", _floats), more.pop("refused", "")
    return Delicate(make, inputs | more.pop("states_in", {}), outputs, requests, more, refused)


def _state() -> Any:
    return Floats(("layers", 1), "batch", ("hidden", HIDDEN))


DELICATE: dict[str, Delicate] = {
    "log of silence": _front(lambda x: torch.log(x.abs() + 1e-10), nn.GRU),
    "log of a power": _front(lambda x: torch.log(x * x + 1e-12), nn.LSTM),
    "a constant row": _front(lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-9), nn.LSTM),
    "a root mean square": _front(lambda x: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-8), nn.GRU),
    "a cosine": _front(lambda x: x * F.cosine_similarity(x, x.flip(-1), dim=-1, eps=1e-8).unsqueeze(-1), nn.RNN),
    "a unit vector": _front(lambda x: F.normalize(x, dim=-1, eps=1e-12), nn.RNN),
    "log of softplus": _front(lambda x: torch.log(F.softplus(x) + 1e-10), nn.GRU),
    "logsigmoid": _front(F.logsigmoid, nn.RNN),
    "logaddexp": _front(lambda x: torch.logaddexp(x, -x), nn.GRU),
    "logsumexp": _front(lambda x: x - torch.logsumexp(x, -1, keepdim=True), nn.GRU),
    "log of one more": _front(lambda x: torch.log1p(x.abs()) + torch.expm1(-x.abs()), nn.LSTM),
    "log of a negative number": _front(torch.log, nn.GRU, refused=r"not finite.* come from log .*clamp"),
    "a root of a negative number": _front(torch.sqrt, nn.LSTM, refused=r"not finite.* come from sqrt .*Clamp"),
    "one over zero": _front(lambda x: 1 / x, nn.LSTM),
    "zero over zero": _front(lambda x: x / x.abs().amax(-1, keepdim=True), nn.GRU),
    "a mean over the batch": _front(lambda x: x - x.mean(0, keepdim=True), nn.GRU),
    "a row's place in the batch": _front(lambda x: x + torch.arange(x.size(0)).view(-1, 1, 1).to(x.dtype), nn.GRU),
    "mingru": _x(MinGru, ["y"], requests=lambda random: _floats(random, long=(500, 1500))),
    "a learned state of a GRU": _x(
        lambda: LearnedState(nn.GRU), ["y", "h_n"], states_in={"h": _state()}, states={"h_n": "h"}
    ),
    "a learned state of an RNN": _x(
        lambda: LearnedState(nn.RNN), ["y", "h_n"], states_in={"h": _state()}, states={"h_n": "h"}
    ),
    "a learned cell of an LSTM": _x(
        LearnedLstm,
        ["y", "h_n", "c_n"],
        states_in={"h": _state(), "c": _state()},
        states={"h_n": "h", "c_n": "c"},
    ),
    "one rare id": Delicate(
        lambda: Tokens(lambda tokens, x: x + (tokens == 13337).any().to(x.dtype), 20_000),
        {"tokens": Integers("batch", "sequence", high=20_000)},
        ["last"],
        lambda random: _tokens(random, 20_000, 13337),
    ),
    "one rare id of a row": Delicate(
        lambda: Tokens(lambda tokens, x: x + (tokens == 577).any(1)[:, None, None].to(x.dtype), 1000),
        {"tokens": Integers("batch", "sequence", high=1000)},
        ["last"],
        lambda random: _tokens(random, 1000, 577),
    ),
    "ties": _x(Largest, ["values", "places"], refused=r"topk.*stable=True"),
    "attention": _x(SelfAttention, ["y", "weights"]),
    "an eighth of the steps": _x(
        Strided,
        ["y"],
        requests=lambda random: _floats(random, steps=16) + _floats(random, steps=29),
        sizes={"sequence": (8, 400)},
    ),
    "a state alone": Delicate(
        Free,
        {"h": Floats("batch", ("hidden", HIDDEN))},
        ["next"],
        lambda random: [{"h": scale * random.standard_normal((2, HIDDEN)).astype(np.float32)} for scale in (0, 1, 30)],
        {"states": {"next": "h"}},
    ),
    "a bare LSTM": Delicate(
        lambda: nn.LSTM(FEATURES, HIDDEN, batch_first=True),
        {"input": Floats("batch", "sequence", ("features", FEATURES))},
        ["y", "h_n", "c_n"],
        lambda random: [{"input": request["x"]} for request in _floats(random)],
    ),
}
