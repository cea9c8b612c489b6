"""Ordinary modules whose export goes wrong without a word, and the values on which it does.

Each was published, proven and wrong once, or is a neighbour of one that was: constants that an optimiser takes for
zero, translations that overflow, states that are learned, rows that mix for one rare id, values that are not finite.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from full.end_to_end.delicate_layers import (
    FEATURES,
    HIDDEN,
    After,
    Free,
    FrontEnd,
    Largest,
    LargestStep,
    LearnedLstm,
    LearnedState,
    MinGru,
    Mixture,
    PaddedMean,
    Pointers,
    Pooled,
    SelfAttention,
    StartOfZeros,
    Strided,
    Tokens,
    attended,
    clocked,
)
from full.end_to_end.delicate_sound import Companded, ConvolvedSound, Loudness, running_score
from rnnserve.export import Floats, Integers

__all__ = ["DELICATE", "Delicate"]

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
        refused: Regular expression that the refusal matches; empty if it is served, and right.
        apart: Whether it writes to its input, mixes rows, or has results that aren't finite: it is published alone.
    """

    make: Callable[[], nn.Module]
    inputs: Mapping[str, Any]
    outputs: list[str]
    requests: Callable[[np.random.Generator], list[Arrays]]
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    refused: str = ""
    apart: bool = False


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


def _sequences(random: np.random.Generator) -> list[Arrays]:
    return _floats(random, long=(1000, 2500))


def _long(random: np.random.Generator, steps: int) -> list[Arrays]:
    """Normal values and a constant of so many steps."""
    shape = (1, steps, FEATURES)
    return [{"x": random.standard_normal(shape).astype(np.float32)}, {"x": np.full(shape, 3.7, np.float32)}]


def _tokens(random: np.random.Generator, ids: int, *rare: int) -> list[Arrays]:
    usual = random.integers(0, ids, (3, 1, 7))
    with_rare = [np.array([[1, at, 2, 3]]) for at in (0, ids - 1, *rare)]
    alone = [np.full((1, steps), at) for at in rare for steps in (1, 5)]
    padding = np.zeros((1, 5))
    return [{"tokens": value.astype(np.int64)} for value in (*usual, *with_rare, *alone, padding)]


X = {"x": Floats("batch", "sequence", ("features", FEATURES))}
TOKENS = {"tokens": Integers("batch", "sequence", high=1000)}


def _front(
    front: Callable[[torch.Tensor], torch.Tensor],
    cell: Callable[..., nn.RNNBase],
    refused: str = "",
    *,
    apart: bool = False,
) -> Delicate:
    return Delicate(lambda: FrontEnd(front, cell), X, ["y"], _floats, refused=refused, apart=apart)


def _x(make: Callable[[], nn.Module], outputs: list[str], **more: Any) -> Delicate:
    requests, refused, states = more.pop("requests", _floats), more.pop("refused", ""), more.pop("states_in", {})
    return Delicate(make, X | states if states else X, outputs, requests, more, refused)


def _sound(make: Callable[[], nn.Module], *samples: int) -> Delicate:
    """Make a case of audio (batch, samples), from the fewest samples to the most."""

    def requests(random: np.random.Generator) -> list[Arrays]:
        made = [0.1 * random.standard_normal((1, count)).astype(np.float32) for count in samples]
        return [{"x": value} for value in (*made, np.zeros_like(made[-1]))]

    inputs = {"x": Floats("batch", "samples", low=-1, high=1)}
    return Delicate(make, inputs, ["y"], requests, {"sizes": {"samples": (min(samples), max(samples))}})


def _thousand(random: np.random.Generator) -> list[Arrays]:
    return _tokens(random, 1000, 577)


def _ids(make: Callable[[], nn.Module], refused: str = "", *, apart: bool = False) -> Delicate:
    return Delicate(make, TOKENS, ["last"], _thousand, refused=refused, apart=apart)


def _state() -> Any:
    return Floats(("layers", 1), "batch", ("hidden", HIDDEN))


DELICATE: dict[str, Delicate] = {
    "log of silence": _front(lambda x: torch.log(x.abs() + 1e-10), nn.GRU),
    "log of a power": _front(lambda x: torch.log(x * x + 1e-12), nn.LSTM),
    "a constant row": _front(lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-9), nn.LSTM),
    "a root mean square": _front(lambda x: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-8), nn.GRU),
    "a cosine": _front(lambda x: x * F.cosine_similarity(x, x.flip(-1), dim=-1, eps=1e-8).unsqueeze(-1), nn.RNN),
    "a unit vector": _front(lambda x: F.normalize(x, dim=-1, eps=1e-12), nn.RNN),
    "a clamp of its own input": _front(lambda x: x.clamp_(-1, 1), nn.GRU, apart=True),
    "log of softplus": _front(lambda x: torch.log(F.softplus(x) + 1e-10), nn.GRU),
    "logsigmoid": _front(F.logsigmoid, nn.RNN),
    "logaddexp": _front(lambda x: torch.logaddexp(x, -x), nn.GRU),
    "logsumexp": _front(lambda x: x - torch.logsumexp(x, -1, keepdim=True), nn.GRU),
    "log of one more": _front(lambda x: torch.log1p(x.abs()) + torch.expm1(-x.abs()), nn.LSTM),
    "log of a negative number": _front(torch.log, nn.GRU, refused=r"not finite.* come from log .*clamp"),
    "a running product": _front(lambda x: torch.cumprod(torch.sigmoid(x), 1), nn.GRU),
    "a median over time": _front(
        lambda x: x - x.sort(dim=1, stable=True).values[:, (x.size(1) - 1) // 2, None], nn.GRU
    ),
    "one over zero": _front(lambda x: 1 / x, nn.LSTM, apart=True),
    "zero over zero": _front(lambda x: x / x.abs().amax(-1, keepdim=True), nn.GRU, apart=True),
    "a mean over the batch": _front(lambda x: x - x.mean(0, keepdim=True), nn.GRU, apart=True),
    "a row's place in the batch": _front(
        lambda x: x + torch.arange(x.size(0)).view(-1, 1, 1).to(x.dtype), nn.GRU, apart=True
    ),
    "a score over time": _front(
        lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, unbiased=False) + 1e-5), nn.LSTM
    ),
    "a running score": _front(running_score, nn.GRU),
    "a range over time": _front(
        lambda x: (x - x.amin(1, keepdim=True)) / (x.amax(1, keepdim=True) - x.amin(1, keepdim=True) + 1e-8), nn.LSTM
    ),
    "loudness": _x(Loudness, ["y"], requests=_sequences),
    "companded": _x(Companded, ["ids", "y"]),
    "zeros that mean a start": _x(
        StartOfZeros,
        ["y", "h_n"],
        states_in={"h": _state()},
        states={"h_n": "h"},
        requests=lambda random: [
            given | {"h": np.full((1, 1, HIDDEN), value, np.float32)}
            for given, value in zip(_floats(random), (0, 0, 0, 1e-20, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0), strict=True)
        ],
    ),
    "mingru": _x(MinGru, ["y"], requests=_sequences),
    "a learned state of a GRU": _x(
        lambda: LearnedState(nn.GRU), ["y", "h_n"], states_in={"h": _state()}, states={"h_n": "h"}
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
    "one rare id of a row": _ids(
        lambda: Tokens(lambda tokens, x: x + (tokens == 577).any(1)[:, None, None].to(x.dtype), 1000)
    ),
    "an id that turns its step": _ids(
        lambda: Tokens(lambda tokens, x: torch.where((tokens == 577).unsqueeze(-1), -3 * x, x), 1000)
    ),
    "silence after an id": _ids(
        lambda: Tokens(lambda tokens, x: x * (torch.cumsum((tokens == 577).int(), 1) == 0).unsqueeze(-1), 1000)
    ),
    "attention that an id is hidden from": _ids(
        lambda: Tokens(lambda tokens, x: attended(x, tokens != 577), 1000), apart=True
    ),
    "attention to loud steps": _front(lambda x: x + attended(x, x[..., 0].abs() > 5), nn.GRU, apart=True),
    "a mean without padding": _ids(lambda: PaddedMean(1)),
    "a mean of padding": _ids(lambda: PaddedMean(0), refused=r"come from div .*divisor.*Integers\("),
    "ties": _x(Largest, ["values", "places"], refused=r"topk.*stable=True"),
    "masked scores, pooled": _x(Pooled, ["score"], requests=_sequences),
    "a steep mixture": _x(Mixture, ["weights", "means", "deviations"], requests=lambda random: _floats(random)[:1]),
    "the step of the largest": _x(LargestStep, ["values", "places"], requests=lambda random: _floats(random)[:1]),
    "attention": _x(SelfAttention, ["y", "weights"]),
    "ten of the steps": _x(
        lambda: After(lambda h: F.interpolate(h.mT, size=10).mT),
        ["y"],
        requests=lambda random: [request for steps in (34, 35, 65, 70, 257, 611) for request in _long(random, steps)],
    ),
    "an eighth of the steps": _x(
        Strided,
        ["y"],
        requests=lambda random: _floats(random, steps=16) + _floats(random, steps=29),
        sizes={"sequence": (8, 400)},
    ),
    "a clock for each feature": _front(clocked, nn.GRU, refused=r"integers are divided by integers"),
    "steps from 0 to 1": _front(lambda x: x * torch.linspace(0, 1, x.size(1))[:, None], nn.LSTM),
    "a pointer to each step": _x(  # of values that saturate the cell, steps fit equally well: any may be chosen
        Pointers,
        ["fits"],
        requests=lambda random: [
            {"x": random.standard_normal((1, steps, FEATURES)).astype(np.float32)} for steps in (1, 2, 8, 40)
        ],
    ),
    "strides of 20 and 16": _sound(ConvolvedSound, 700, 767, 768, 1500, 4000),
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
