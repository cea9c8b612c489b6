"""Sizes that a library makes plain numbers, as einx does, which compiles a function for each shape that it is given."""

import types

import numpy as np
import pytest
import torch
from torch import nn

from kit.served_modules import Served, nasty, publication_of
from rnnserve.export import UnsupportedModule
from rnnserve.export.recurrence.capture import capture


def library():
    """A library whose functions no name in a module leads to, so that they are not rewritten."""

    def sizes(tensor):
        return tuple(int(size) for size in tensor.shape)

    return types.SimpleNamespace(sizes=sizes, compiled={})


LIBRARY = library()


def shape_of(tensor):
    """As `LIBRARY.sizes`, of which `int` is rewritten, so that it gives no numbers: a shape is no key then."""
    return tuple(int(size) for size in tensor.shape)


def run(text, tensor, **more):
    """Run a text with the sizes of a tensor in it."""
    shape = more.pop("shape", LIBRARY.sizes)(tensor)
    key = (text, shape)
    if key not in LIBRARY.compiled:
        names = dict(zip("btcd", shape, strict=False))
        space = {"torch": torch, **more}
        exec(f"def compiled(x):\n    return {text.format(**names)}", space)
        LIBRARY.compiled[key] = space["compiled"]
    return LIBRARY.compiled[key](tensor)


def heads(self, x):
    y = run("x.reshape({b}, {t}, 2, 2).sum(2)", self.rnn(x)[0])
    return torch.cat([y, y * 2], 2)


def joined(self, x):
    rows = run("torch.reshape(x, ({b} * {t}, {c}))", x)
    return torch.tanh(self.linear(rows)).reshape(x.size(0), -1, 4)


def broadcast(self, x):
    return self.rnn(x)[0] * run("torch.ones(({b}, 1, 4)).expand({b}, {t}, 4)", x)


def cut(self, x):
    return torch.cat([run("x[:{b}, :{t}]", self.rnn(x)[0]), run("x.narrow(1, 0, {t})", x)], 2)


def named(self, x):
    return run("x.reshape({b}, {t}, 2, 2).sum(2)", self.rnn(x)[0], shape=shape_of)


def looped(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    gates = run("x.reshape({b}, {t}, 1, {c}).mean(2)", self.linear(x))
    for t in range(x.size(1)):
        h = torch.tanh(gates[:, t] + self.again(h))
        outputs.append(h)
    return torch.stack(outputs, 1)


def large(self, x):
    """The captures have one path, and fewer steps another."""
    return self.rnn(x)[0] * (2 if LIBRARY.sizes(x)[1] > 50 else 3)


def larger(self, x):
    return self.rnn(x)[0] * (2 if LIBRARY.sizes(x)[1] > 150 else 3)


def largest(self, x):
    return self.rnn(x)[0] * (2 if LIBRARY.sizes(x)[1] > 2000 else 3)


def divided(self, x):
    return self.rnn(x)[0] / LIBRARY.sizes(x)[1]


def halved(self, x):
    return self.rnn(x)[0][:, : LIBRARY.sizes(x)[1] // 2 + 1]


def counted(self, x):
    return torch.stack([self.rnn(x)[0][:, t] for t in range(LIBRARY.sizes(x)[1])], 1)


class Of(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way = way
        self.rnn = nn.GRU(3, 4, batch_first=True)
        self.linear, self.again = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.way(self, x)


@pytest.mark.parametrize("way", [heads, joined, broadcast, cut, divided, named, looped])
def test_sizes_are_found_again_where_they_are_used(way, exported):
    torch.manual_seed(0)
    result = exported(Of(way), (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    for sizes in ((1, 1), (31, 7), (2, 211), (5, 300)):
        result.agrees(torch.randn(*sizes, 3), limit=3e-5)
    assert result.axes("outputs")[0][:2] == ["batch", "sequence"]


@pytest.mark.parametrize("way", [large, larger, largest, halved, counted])
def test_other_uses_are_refused(way, exported):
    with pytest.raises(UnsupportedModule, match=r"cannot be dynamic.*test_plain_sizes\.py:\d+, '.*int\(size\).*'\)"):
        exported(Of(way), (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))


@pytest.fixture
def captured(monkeypatch):
    """Lengths at which modules were captured whose code had made a number of them."""
    lengths = []

    def noting(module, args, *rest, **options):
        lengths.append(args[0].shape[1])
        return capture(module, args, *rest, **options)

    monkeypatch.setattr("rnnserve.export.recurrence.plain_sizes.capture", noting)
    return lengths


@pytest.mark.parametrize(("way", "lengths"), [(counted, [67]), (halved, [67, 223])])
def test_there_is_no_second_capture_after_one_that_fails(way, lengths, exported, captured):
    with pytest.raises(UnsupportedModule):
        exported(Of(way), (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    assert captured == lengths


def test_such_a_module_is_served_with_its_own_values(tmp_path):
    torch.manual_seed(1)
    served = Served(publication_of(Of(looped), "compiled"), tmp_path)
    rng = np.random.default_rng(2)
    served.check([*nasty(rng, (1, 13, 3)).values(), *nasty(rng, (1, 1, 3)).values()], in_parts=["y"])
