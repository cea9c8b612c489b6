"""Sizes: functions that take them, operators that compute them, libraries that make numbers of them, caches by size."""

import functools
import math
import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from kit.corpus.rows import Family, Members


class Sized(Members):
    """A function of (batch, sequence, 3), after a scaling that gives the module a parameter, with constants."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("periods", torch.tensor([1, 2, 4]))
        self.linear, self.again = nn.Linear(3, 4), nn.Linear(4, 4)


SIZES = Family("sizes", Sized)
right, core, refused = SIZES.right, SIZES.core, SIZES.refused


def add(name, function, **more):
    """Add a row of a function of the module and x (batch, sequence, 3)."""

    def forward(self, x):
        return function(self, x * self.scale)

    forward.__name__ = name
    right(forward, **more)


add("one_hot", lambda _, x: F.one_hot(x.argmax(1), x.size(1)), is_core=True)
add("linspace, falling", lambda _, x: x * torch.linspace(2, -1, x.size(1), dtype=x.dtype, device=x.device)[:, None])
add("take_along_dim", lambda _, x: torch.take_along_dim(x, x.argmax(1, keepdim=True), dim=1))


def steps(x):
    return torch.arange(x.size(1))[:, None]


add("remainder of a number of Python", lambda _, x: x * (steps(x) % 7 == 0), is_core=True)
add("quotient of a size", lambda _, x: x * (steps(x) * 3 // x.size(1)))
END = r"divide by a Python number"
add(
    "quotient of constants", lambda self, x: x * (steps(x) // self.periods), refused=END, is_core=True, is_located=False
)


def branch(name, phrase, condition, **more):
    """Add a refusal of a module that computes something else if a condition on its sizes holds."""

    def forward(self, x):
        return self.gru(x * 2 if condition(x) else x)[0]

    forward.__name__ = name
    refused(phrase, **more)(forward)


branch("fewer than 3 steps", r"takes another path at", lambda x: x.size(1) < 3, is_core=True)
branch("more than 3 steps", r"condition on sizes", lambda x: x.size(1) > 3)
branch("one row", r'takes another path at "batch" 1', lambda x: x.size(0) == 1)


def after(name, function, **more):
    """Add a row of a function of the results of a layer."""

    def forward(self, x):
        return function(self.gru(x)[0])

    forward.__name__ = name
    right(forward, **more)


after("chunks of features", lambda h: torch.cat([part.amax(1) for part in h.chunk(2, 2)], 1), is_core=True)
after("shifted", lambda h: (h[:, 1:] - h[:, :-1]).sum(1))
SPECIAL = {
    "tensor_split(2)": (lambda h: torch.cat([part.amax(1) for part in h.tensor_split(2, dim=1)], 1), "tensor_split"),
    "squeeze()": (lambda h: h.squeeze().sum().reshape(1, 1).expand(h.size(0), 2), "squeeze"),
}
for name, (special, operator) in SPECIAL.items():
    after(name, special, refused=rf"aten\.{operator}.* \(at ", is_core=name == "squeeze()")
after("a squeezed state", lambda h: h[:, -1].unsqueeze(0).squeeze(), refused=r"aten\.squeeze.* \(at .*squeeze\(0\)")
after(
    "chunks of steps",
    lambda h: torch.stack([part.amax(1) for part in h.chunk(2, 1)], 1),
    refused=r'"sequence" 1.*aten\.chunk.* \(at .*sizes=\{"sequence": \(2, …\)',
    is_located=False,
)
after(
    "parts of 16 steps",
    lambda h: torch.stack([part.amax(1) for part in h.split(16, 1)], 1),
    refused=r"aten\.split.* \(at .*number of parts depends on the size",
    is_located=False,
)
after(
    "a state over parts of 16 steps",
    lambda h: functools.reduce(lambda state, part: state + part.sum(1), h.split(16, 1), 0),
    refused=r"aten\.split.* \(at .*take the whole sequence: y, h = gru\(x, h\)",
    is_located=False,
)


def rows_of_16_steps(h):
    parts = nn.functional.pad(h, (0, 0, 0, -h.size(1) % 16)).unflatten(1, (-1, 16)).flatten(0, 1)
    return parts.amax(1).unflatten(0, (h.size(0), -1))


after("rows of 16 steps", rows_of_16_steps, together=1)
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


def library():
    """A library whose functions no name in a module leads to, so that they are not rewritten."""

    def sizes(tensor):
        return tuple(int(size) for size in tensor.shape)

    return types.SimpleNamespace(sizes=sizes, compiled={})


LIBRARY = library()


def run(text, tensor):
    """Run a text with the sizes of a tensor in it."""
    shape = LIBRARY.sizes(tensor)
    key = (text, shape)
    if key not in LIBRARY.compiled:
        names = dict(zip("btcd", shape, strict=False))
        space: dict[str, Any] = {"torch": torch}
        exec(f"def compiled(x):\n    return {text.format(**names)}", space)
        LIBRARY.compiled[key] = space["compiled"]
    return LIBRARY.compiled[key](tensor)


PLAIN_SIZES = Family("plain sizes", Sized, runs=((1, 1), (31, 7), (2, 211), (5, 300)))


@PLAIN_SIZES.core
def heads(self, x):
    y = run("x.reshape({b}, {t}, 2, 2).sum(2)", self.gru(x)[0])
    return torch.cat([y, y * 2], 2)


@PLAIN_SIZES.right
def cut(self, x):
    return torch.cat([run("x[:{b}, :{t}]", self.gru(x)[0]), run("x.narrow(1, 0, {t})", x)], 2)


@PLAIN_SIZES.core
def looped(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    gates = run("x.reshape({b}, {t}, 1, {c}).mean(2)", self.linear(x))
    for t in range(x.size(1)):
        h = torch.tanh(gates[:, t] + self.again(h))
        outputs.append(h)
    return torch.stack(outputs, 1)


@PLAIN_SIZES.refused(r"returns other values", is_located=False)
def one_integer_of_many(self, x):
    steps = LIBRARY.sizes(x)[1]
    places = torch.arange(x.size(1)).expand(x.size(0), -1)
    return self.gru(x)[0].sum(2).round().long() * 0 + places + (places == steps - 1) * (1 if steps > 150 else 0)


@PLAIN_SIZES.core
def counted_steps(self, x):
    return torch.stack([self.gru(x)[0][:, t] for t in range(LIBRARY.sizes(x)[1])], 1)
