"""Modules with the interfaces that real packages have: each with its publication, and calls as its users make them.

A call is what a request sends, and what the module itself is called with for the same rows.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnserve.export import Floats, Integers, Lengths, Mask, Publication

X = Floats("batch", "sequence", ("features", 3))


@dataclasses.dataclass(frozen=True)
class Interface:
    """A module, how it is published, and how its users call it.

    Attributes:
        make: Function that makes the module.
        description: What `Publication` takes besides module and name.
        call: Function that calls the module with x (batch, sequence, 3), or ids (batch, sequence), and lengths.
    """

    make: Callable[[], nn.Module]
    description: Mapping[str, Any]
    call: Callable[[nn.Module, Tensor, Tensor], Any]

    def publication(self, name: str) -> Publication:
        """Describe it, with random weights that repeat."""
        torch.manual_seed(0)
        return Publication(self.make().eval(), name, **self.description)


def inside(x: Tensor, lengths: Tensor) -> Tensor:
    """The mask (batch, sequence) that users make of lengths."""
    return torch.arange(x.shape[1]) < lengths[:, None]


class Layer(nn.Module):
    """What the modules share: one GRU, three features, hidden size four."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def last(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.gru(packed)[1][0]


class MaskedMean(Layer):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return (self.gru(x)[0] * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


class FloatMask(Layer):
    def forward(self, mask: Tensor, x: Tensor) -> Tensor:
        return (self.gru(x)[0] * mask).sum(1)


class PaddingMask(Layer):
    def forward(self, x: Tensor, *, key_padding_mask: Tensor) -> Tensor:
        h = self.gru(x)[0]
        scores = h.mean(-1).masked_fill(key_padding_mask, -torch.inf)
        return (torch.softmax(scores, 1).unsqueeze(-1) * h).sum(1)


class PaddedIds(nn.Module):
    def __init__(self, padding: int = 0) -> None:
        super().__init__()
        self.padding = padding
        self.embedding = nn.Embedding(20, 3)
        self.layer = Layer()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer.last(self.embedding(tokens), (tokens != self.padding).sum(1))


class MeanOfIds(nn.Module):
    """Takes a row of padding alone, too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        there = (tokens != 0).unsqueeze(-1)
        return (self.embedding(tokens) * there).sum(1) / there.sum(1).clamp(min=1)


class Relative(Layer):
    def forward(self, x: Tensor, lens: Tensor) -> Tensor:
        return self.last(x, torch.round(lens * x.shape[1]).to(torch.int64))


class Constants(Layer):
    def forward(self, x: Tensor, temperature: float, lengths: Tensor, *, mode: str, scale: Tensor) -> Tensor:
        if mode != "last":
            raise ValueError(mode)
        return self.last(x * scale, lengths) / temperature


class TakesDict(Layer):
    def forward(self, batch):
        return self.last(batch["x"], batch["lengths"])


class TakesDictOfDicts(Layer):
    """The same tensors for each of two directions, as imputers of series take them, and one beside them."""

    def forward(self, data):
        both = [self.last(data[way]["x"], data[way]["mask"].sum(1)) for way in ("forward", "backward")]
        return both[0] + both[1] * data["weight"].unsqueeze(1) if len(data["forward"]) == 2 else both[0]


class Batch(TypedDict):
    x: Tensor
    mask: Tensor


class TakesTypedDict(MaskedMean):
    def forward(self, batch: Batch) -> Tensor:  # type: ignore[override]
        return super().forward(batch["x"], batch["mask"])


class Named(NamedTuple):
    x: Tensor
    lengths: Tensor


class TakesNamedTuple(Layer):
    def forward(self, batch: Named) -> Tensor:
        return self.last(batch.x, batch.lengths)


class GivesNone(Layer):
    def forward(self, x: Tensor, lengths: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
        return {"loss": labels, "last": self.last(x, lengths)}


class Sorted(Layer):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.gru(pack_padded_sequence(x, lengths, batch_first=True))[1][0]


class SortedAndTrimmed(Layer):
    """Cuts what it gives to the longest row, and wants sorted rows."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.GRU(4, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = self.gru(pack_padded_sequence(x, lengths, batch_first=True))[0]
        steps, again = pad_packed_sequence(self.second(packed)[0], batch_first=True)
        last = (again - 1)[:, None, None].expand(-1, 1, steps.shape[2])
        return steps.gather(1, last)[:, 0]


class SortedAndRebuilt(Layer):
    """Computes on the values of packed rows, and loses the order of rows, since they are sorted."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.second = nn.Linear(4, 4), nn.GRU(4, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = self.gru(pack_padded_sequence(x, lengths, batch_first=True))[0]
        packed = PackedSequence(torch.tanh(self.map(packed.data)), packed.batch_sizes)
        return self.second(packed)[1][0]


class Trimmed(Layer):
    """Cuts what it gives to the longest row."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True, padding_value=0.5)[0]


class MeanOfTrimmed(Trimmed):
    """Gives another mean where it is not trimmed."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x, lengths).mean(1)


L, HIDDEN = Lengths(), ["hidden"]


def described(
    outputs: Sequence[str] = HIDDEN, constants: Mapping[str, Any] | None = None, **inputs: Any
) -> dict[str, Any]:
    return {"inputs": inputs, "outputs": outputs, "constants": constants or {}}


def of_ids(make: Callable[[], nn.Module], padding: int = 0) -> Interface:
    """A module of ids alone, which end where the padding begins."""
    tokens = Integers("batch", "sequence", high=20, padding=padding)
    return Interface(make, described(tokens=tokens), lambda m, x, n: m(torch.where(inside(x, n), x, padding)))


def both_ways(module: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    one = {"x": x, "mask": inside(x, lengths)}
    return module({"forward": one, "backward": one, "weight": x[:, 0, 0]})


MASKED = {"x": X, "mask": Mask()}
ARGUMENTS: dict[str, Interface] = {
    "mask": Interface(MaskedMean, described(x=X, mask=Mask()), lambda m, x, n: m(x, inside(x, n))),
    "mask_of_floats": Interface(
        FloatMask,
        described(mask=Mask(axes=("batch", "sequence", 1), dtype="float32"), x=X),
        lambda m, x, n: m(inside(x, n)[..., None].float(), x),
    ),
    "mask_of_padding": Interface(
        PaddingMask,
        described(x=X, key_padding_mask=Mask(inside=False, after=True)),
        lambda m, x, n: m(x, key_padding_mask=~inside(x, n)),
    ),
    "padded_ids": of_ids(PaddedIds),
    "padded_with_the_last_id": of_ids(lambda: PaddedIds(19), padding=19),
    "mean_of_ids": of_ids(MeanOfIds),
    "relative": Interface(
        Relative, described(x=X, lens=Lengths(relative=True)), lambda m, x, n: m(x, n.float() / x.shape[1])
    ),
    "constants": Interface(
        Constants,
        described(constants={"scale": np.full(3, 2, np.float32), "mode": "last", "temperature": 2.0}, x=X, lengths=L),
        lambda m, x, n: m(x, 2.0, n, mode="last", scale=torch.full((3,), 2.0)),
    ),
    "dict": Interface(TakesDict, described(batch={"x": X, "lengths": L}), lambda m, x, n: m({"x": x, "lengths": n})),
    "dict_of_dicts": Interface(
        TakesDictOfDicts, described(data={"forward": MASKED, "backward": MASKED, "weight": Floats("batch")}), both_ways
    ),
    "typed_dict": Interface(TakesTypedDict, described(batch=MASKED), lambda m, x, n: m({"x": x, "mask": inside(x, n)})),
    "named_tuple": Interface(TakesNamedTuple, described(batch={"x": X, "lengths": L}), lambda m, x, n: m(Named(x, n))),
    "none_among_outputs": Interface(GivesNone, described(x=X, lengths=L), lambda m, x, n: m(x, n)["last"]),
}


def by_row(module: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    """Call a module that takes rows in one order only with a row at a time, as long as it is."""
    rows = zip(x.split(1), lengths.split(1), strict=True)
    return torch.cat([module(row[:, : int(length)], length) for row, length in rows])


PACKED: dict[str, Interface] = {
    "sorted": Interface(Sorted, described(x=X, lengths=L), by_row),
    "sorted_and_trimmed": Interface(SortedAndTrimmed, described(x=X, lengths=L), by_row),
    "sorted_and_rebuilt": Interface(SortedAndRebuilt, described(x=X, lengths=L), by_row),
}
"""Modules that pack rows in one order only, or cut them."""
