"""Ordinary modules whose export goes wrong without a word, and the values on which it does.

Each was published, proven and wrong once, or is a neighbour of one that was: constants that an optimiser takes for
zero, translations that overflow, states that are learned, rows that mix for one rare id, values that are not finite.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from full.end_to_end.delicate_layers import (
    FEATURES,
    HIDDEN,
    FrontEnd,
    Largest,
    MinGru,
    PaddedMean,
    StartOfZeros,
    Tokens,
    attended,
)
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


def _thousand(random: np.random.Generator) -> list[Arrays]:
    return _tokens(random, 1000, 577)


def _ids(make: Callable[[], nn.Module], refused: str = "", *, apart: bool = False) -> Delicate:
    return Delicate(make, TOKENS, ["last"], _thousand, refused=refused, apart=apart)


def _state() -> Any:
    return Floats(("layers", 1), "batch", ("hidden", HIDDEN))


DELICATE: dict[str, Delicate] = {
    "log of silence": _front(lambda x: torch.log(x.abs() + 1e-10), nn.GRU),
    "a constant row": _front(lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-9), nn.LSTM),
    "a clamp of its own input": _front(lambda x: x.clamp_(-1, 1), nn.GRU, apart=True),
    "log of a negative number": _front(torch.log, nn.GRU, refused=r"not finite.*first appear in log .*clamp"),
    "zero over zero": _front(lambda x: x / x.abs().amax(-1, keepdim=True), nn.GRU, apart=True),
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
    "one rare id of a row": _ids(
        lambda: Tokens(lambda tokens, x: x + (tokens == 577).any(1)[:, None, None].to(x.dtype), 1000)
    ),
    "attention that an id is hidden from": _ids(
        lambda: Tokens(lambda tokens, x: attended(x, tokens != 577), 1000), apart=True
    ),
    "a mean without padding": _ids(lambda: PaddedMean(1)),
    "a mean of padding": _ids(lambda: PaddedMean(0), refused=r"first appear in div .*divisor.*Integers\("),
    "ties": _x(Largest, ["values", "places"], refused=r"topk.*stable=True"),
}
