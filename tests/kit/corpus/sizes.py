"""Sizes: functions that take them, operators that compute them, libraries that make numbers of them, caches by size."""

import functools
import math
import types

import torch
import torch.nn.functional as F
from torch import nn

from kit.corpus.rows import Family
from rnnserve.export import scan

__all__ = ["PLAIN_SIZES", "SIZES"]


class Sized(nn.Module):
    """A function of (batch, sequence, 3), after a scaling that gives the module a parameter, with constants."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("periods", torch.tensor([1, 2, 4]))
        self.gru, self.rnn = nn.GRU(3, 4, batch_first=True), nn.GRU(3, 4, batch_first=True)
        self.linear, self.again = nn.Linear(3, 4), nn.Linear(4, 4)


SIZES = Family("sizes", Sized)
right, core, refused = SIZES.right, SIZES.core, SIZES.refused


def add(name, function, **more):
    """Add a row of a function of the module and x (batch, sequence, 3)."""

    def forward(self, x):
        return function(self, x * self.scale)

    forward.__name__ = name
    right(forward, **more)


def counted(_, x):
    return x.new_ones(int(x.size(1)) + len(x), 2), x * 2


@right
def pointers(self, x):
    """Visit each step once, the largest first, as a pointer network does."""

    def step(used, _):
        chosen = x.sum(-1).masked_fill(used, -1e9).argmax(-1)
        return used | F.one_hot(chosen, x.size(1)).bool(), chosen

    unused = torch.zeros(x.size(0), x.size(1), dtype=torch.bool)
    return scan(step, unused, torch.arange(x.size(1)), dim=0)[1].transpose(0, 1)


add("one_hot", lambda _, x: F.one_hot(x.argmax(1), x.size(1)), is_core=True)
add("linspace, falling", lambda _, x: x * torch.linspace(2, -1, x.size(1), dtype=x.dtype, device=x.device)[:, None])
add("log of a size", lambda _, x: x - torch.log(torch.tensor(x.size(1))))
add("take_along_dim", lambda _, x: torch.take_along_dim(x, x.argmax(1, keepdim=True), dim=1))
add("int and len", counted)


def steps(x):
    return torch.arange(x.size(1))[:, None]


add("remainder of a number of Python", lambda _, x: x * (steps(x) % 7 == 0), is_core=True)
add("quotient of a size", lambda _, x: x * (steps(x) * 3 // x.size(1)))
END = r"divide by a Python number"
add(
    "quotient of constants", lambda self, x: x * (steps(x) // self.periods), refused=END, is_core=True, is_located=False
)


@right
def another_way_of_one_formula_for_one_step(self, x):
    z, h = torch.sigmoid(x @ self.linear.weight[:3]), x.new_zeros(x.size(0), 3)
    if x.size(1) == 1:
        return z * x
    outputs = []
    for t in range(x.size(1)):
        h = (1 - z[:, t]) * h + z[:, t] * x[:, t]
        outputs.append(h)
    return torch.stack(outputs, 1)


def branch(name, phrase, condition, **more):
    """Add a refusal of a module that computes something else if a condition on its sizes holds."""

    def forward(self, x):
        return self.gru(x * 2 if condition(x) else x)[0]

    forward.__name__ = name
    refused(phrase, **more)(forward)


branch("fewer than 3 steps", r"takes another path at", lambda x: x.size(1) < 3, is_core=True)
branch("more than 3 steps", r"condition on sizes", lambda x: x.size(1) > 3)
branch("one row", r'takes another path at "batch" 1', lambda x: x.size(0) == 1)


@refused(r"takes another path at")
def another_formula_of_the_same_values_for_few_steps(_, x):
    """It may have conditions of its own, which no run at one of its sizes meets."""
    return x.flip(1).cumsum(1) if x.size(1) < 3 else torch.cumsum(x.flip(1), 1)


def after(name, function, **more):
    """Add a row of a function of the results of a layer."""

    def forward(self, x):
        return function(self.gru(x)[0])

    forward.__name__ = name
    right(forward, **more)


after("squeeze of one", lambda h: h.mean(1, keepdim=True).squeeze(1))
after("halves", lambda h: torch.cat([h[:, : h.size(1) // 2].sum(1), h[:, h.size(1) // 2 :].sum(1)], 1))
after("chunks of features", lambda h: torch.cat([part.amax(1) for part in h.chunk(2, 2)], 1), is_core=True)
after("shifted", lambda h: (h[:, 1:] - h[:, :-1]).sum(1))
after("steps joined to rows", lambda h: h.reshape(h.size(0) * h.size(1), 4))
after("two sizes that are read", lambda h: h.transpose(0, 1).reshape(h.size(1), h.size(0), 4))
after("a size of all axes", lambda h: h + h.shape[1] + h.reshape(h.shape[0], -1).shape[1])
after("chunks of two sizes", lambda h: torch.cat(h.split(3, -1)[::-1], -1))
after("split", lambda h: torch.cat(h.split([1, 3], -1)[::-1], -1))
SPECIAL = {
    "tensor_split(2)": (lambda h: torch.cat([part.amax(1) for part in h.tensor_split(2, dim=1)], 1), "tensor_split"),
    "squeeze()": (lambda h: h.squeeze().sum().reshape(1, 1).expand(h.size(0), 2), "squeeze"),
}
for name, (special, operator) in SPECIAL.items():
    after(name, special, refused=rf"aten\.{operator}.* \(at ", is_core=name == "squeeze()")
after("squeeze of one step that is summed", lambda h: h.squeeze(1).sum().reshape(1, 1).expand(h.size(0), 2))
after("a squeezed state", lambda h: h[:, -1].unsqueeze(0).squeeze(), refused=r"aten\.squeeze.* \(at .*squeeze\(0\)")
after(
    "chunks of steps",
    lambda h: torch.stack([part.amax(1) for part in h.chunk(2, 1)], 1),
    refused=r'"sequence" 1.*aten\.chunk.* \(at .*sizes=\{"sequence": \(2, None\)',
    is_located=False,
)
after(
    "math.log of a size",
    lambda h: h - math.log(h.size(1)),
    refused=r"torch\.log\(torch\.tensor\(n\)\)",
)
after("window of a size", lambda h: h * torch.hann_window(h.size(1))[:, None], refused=r"torch\.arange\(n\)")


@functools.lru_cache(maxsize=4)
def lower(size):
    return torch.tril(torch.ones(size, size)) / size


after("cached by size", lambda h: lower(h.size(1)) @ h, is_core=True)


@right
class CachedMethod(Sized):
    @functools.lru_cache(maxsize=2)  # noqa: B019 - as users write it
    def mask(self, size):
        return lower.__wrapped__(size)

    def forward(self, x):
        return self.mask(x.size(1)) @ self.gru(x)[0]


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


PLAIN_SIZES = Family("plain sizes", Sized, runs=((1, 1), (31, 7), (2, 211), (5, 300)))


@PLAIN_SIZES.core
def heads(self, x):
    y = run("x.reshape({b}, {t}, 2, 2).sum(2)", self.rnn(x)[0])
    return torch.cat([y, y * 2], 2)


@PLAIN_SIZES.right
def cut(self, x):
    return torch.cat([run("x[:{b}, :{t}]", self.rnn(x)[0]), run("x.narrow(1, 0, {t})", x)], 2)


@PLAIN_SIZES.right
def named(self, x):
    return run("x.reshape({b}, {t}, 2, 2).sum(2)", self.rnn(x)[0], shape=shape_of)


@PLAIN_SIZES.core
def looped(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    gates = run("x.reshape({b}, {t}, 1, {c}).mean(2)", self.linear(x))
    for t in range(x.size(1)):
        h = torch.tanh(gates[:, t] + self.again(h))
        outputs.append(h)
    return torch.stack(outputs, 1)


@PLAIN_SIZES.refused(r"returns other values", is_located=False)
def large(self, x):
    """The captures have one path, and fewer steps another."""
    return self.rnn(x)[0] * (2 if LIBRARY.sizes(x)[1] > 50 else 3)


@PLAIN_SIZES.refused(r"returns other values", is_located=False)
def one_integer_of_many(self, x):
    steps = LIBRARY.sizes(x)[1]
    places = torch.arange(x.size(1)).expand(x.size(0), -1)
    return self.rnn(x)[0].sum(2).round().long() * 0 + places + (places == steps - 1) * (1 if steps > 150 else 0)


@PLAIN_SIZES.right
def divided(self, x):
    return self.rnn(x)[0] / LIBRARY.sizes(x)[1]


@PLAIN_SIZES.right(together=1)
def halved(self, x):
    return self.rnn(x)[0][:, : LIBRARY.sizes(x)[1] // 2 + 1]


@PLAIN_SIZES.core
def counted_steps(self, x):
    return torch.stack([self.rnn(x)[0][:, t] for t in range(LIBRARY.sizes(x)[1])], 1)
