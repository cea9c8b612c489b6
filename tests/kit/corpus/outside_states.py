"""States outside of a module: in global variables, classes and defaults, and in objects that it holds."""

import copy
import functools
from typing import Any

import torch
from torch import nn

from kit.corpus.rows import Family, Members, floats

# ruff: noqa: PERF401 - the statements of users' modules, as they are


def now():
    """Describe the variables outside of the modules of this file."""
    return str([STATE, DICT, TENSOR])


OUTER_VARIABLES = Family("outer variables", outside=now)
right, core, refused = OUTER_VARIABLES.right, OUTER_VARIABLES.core, OUTER_VARIABLES.refused


STATE: Any = None
TENSOR = torch.zeros(1, 4)
DICT: dict[str, Any] = {"h": None}


class Stepping(Members):
    """Runs a cell over the steps. Subclasses keep the state somewhere else, or begin with another state."""

    def begun(self, x, kept):
        return x.new_zeros(x.size(0), 4) if kept is None or kept.size(0) != x.size(0) else kept

    def steps(self, x, h):
        outputs = []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            outputs.append(h)
        return torch.stack(outputs, 1)


@core
class InDict(Stepping):
    def forward(self, x):
        DICT["h"], outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            DICT["h"] = self.cell(x[:, t], DICT["h"])
            outputs.append(DICT["h"])
        return torch.stack(outputs, 1)


@refused(
    r"changes something outside itself, such as a global variable, with each call",
    is_core=True,
    is_located=False,
)
class KeptGlobal(Stepping):
    def forward(self, x):
        global STATE
        outputs = self.steps(x, self.begun(x, STATE))
        STATE = outputs[:, -1]
        return outputs


@refused(r"changes something outside itself, such as a global variable, with each call", is_located=False)
class Written(Stepping):
    def forward(self, x):
        outputs = self.steps(x, TENSOR.expand(x.size(0), 4))
        TENSOR.copy_(outputs[:, -1].mean(0, keepdim=True))
        return outputs


HELD_OBJECTS = Family("held objects")


class Decoder:
    """An object, not a module, that holds a cell, a tensor and the items of `more`."""

    def __init__(self, way, **more):
        self.way = way
        self.cell, self.scale = nn.GRUCell(3, 4), torch.randn(4)
        self.drop = nn.Dropout(0.5).eval()
        vars(self).update(more)

    def loop(self, x):
        h, outputs = x.new_zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            outputs.append(h * self.scale)
        return torch.stack(outputs, 1)


class Holding(nn.Module):
    """Holds a decoder."""

    def __init__(self, decoder):
        super().__init__()
        self.held = decoder

    def forward(self, x):
        return self.held.way(self.held, x)


def plain(self, x):
    return self.drop(self.loop(x))


def kept(self, x):
    if self.h is None or self.h.shape[0] != x.size(0):
        self.h = x.new_zeros(x.size(0), 4)
    self.h = self.cell(x[:, 0], self.h)
    return self.h * 1


def listed(self, x):
    self.history.append(self.loop(x))
    return self.history[-1] + self.history[-2].mean()


def counted(self, x):
    self.calls += 1
    return self.loop(x) + self.calls


def counted_for_long(self, x):
    self.calls += 1
    return self.loop(x) * (1 if self.calls < 1000 else 2)


def counted_for_others(self, x):
    self.calls += 1
    return self.loop(x)


def hold(name, way, refused="", *, is_core=False, **more):
    """Add a row of a module that holds a decoder, which holds more."""

    def make():
        return Holding(Decoder(way, **copy.deepcopy(more)))

    HELD_OBJECTS.add(name, make, refused=refused, is_located=False, is_core=is_core)


hold("a decoder", plain, is_core=True)
hold("a list that grows", listed, r"\['held\.history'\]", history=[torch.zeros(1)])
hold("a number", counted, r"changes \['held\.calls'\] with each call", calls=0)
hold("a number for long", counted_for_long, r"changes \['held\.calls'\] with each call", is_core=True, calls=0)
changed_tensor = r"changes \['held\.calls'\] with each call"
hold("a number in a tensor for long", counted_for_long, changed_tensor, calls=torch.tensor(0))
hold("a number for others", counted_for_others, calls=0)
anew = "a state made anew for other rows"
hold(anew, kept, r"keeps \['held\.h'\] .*state_attributes=\['held\.h'\]", is_core=True, h=None)


def dropping():
    holding = Holding(Decoder(plain))
    holding.held.drop.train()
    return holding


HELD_OBJECTS.add(
    "dropout that eval does not reach",
    dropping,
    refused=r"on `held\.cell`, `held\.drop`, which .eval\(\) on the module does not reach",
    is_located=False,
)


class KeepingCell(nn.Module):
    """Keeps its state in an attribute, from call to call, as long as the rows are as many."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.h = None

    def forward(self, x):
        before = 0.0 if self.h is None or self.h.shape != x.shape else self.h
        self.h = torch.tanh(self.linear(x)) + 0.5 * before
        return self.h


class HoldingCells(nn.Module):
    """Runs two cells that a container of Python holds.

    Args:
        hold: Function that puts the cells into a container.
        found: Function that finds them there.
    """

    def __init__(self, hold, found):
        super().__init__()
        self.held, self.found = hold(KeepingCell(), KeepingCell()), found

    def forward(self, x):
        for cell in self.found(self.held):
            x = cell(x)
        return x


class HoldingSteps(HoldingCells):
    """Runs them over steps, from zeros on."""

    def forward(self, x):
        for cell in self.found(self.held):
            cell.h = x.new_zeros(x.size(0), 3)
        steps = []
        for t in range(x.size(1)):
            steps.append(super().forward(x[:, t]))
        return torch.stack(steps, 1)


class WritesToItsDict(nn.Module):
    """Puts its state into a dict, which stays the same one."""

    def __init__(self):
        super().__init__()
        self.memory = {"of": {"h": None}}

    def forward(self, x):
        h = self.memory["of"]["h"]
        self.memory["of"]["h"] = x if h is None or h.shape != x.shape else 0.5 * h + x
        return torch.tanh(self.memory["of"]["h"])


def keeping(cell):
    identity: Any = nn.Identity()
    identity.kept = [cell]
    return identity


HOLDS: dict[str, Any] = {
    "nested": (lambda one, other: [(one,), {"b": other}], lambda held: [held[0][0], held[1]["b"]]),
    "a list of a registered one": (
        lambda one, other: nn.Sequential(keeping(one), other),
        lambda held: [held[1], held[0].kept[0]],
    ),
}
ROW = floats("batch", 3)
for name, ways in HOLDS.items():
    HELD_OBJECTS.add(
        f"cells in {name}",
        functools.partial(HoldingCells, *ways),
        ROW,
        refused=r"keeps \['.*\.h'.* from one call to the next.*state_attributes=\['.*\.h', '.*\.h'\]",
        is_located=False,
    )
HELD_OBJECTS.add("cells over steps", lambda: HoldingSteps(*HOLDS["nested"]), is_core=True)
HELD_OBJECTS.add(
    "a dict that forward writes to",
    WritesToItsDict,
    ROW,
    refused=r"keeps \['memory'\] from one call to the next",
    is_located=False,
)
