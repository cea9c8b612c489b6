"""States outside of forward: global variables, classes, defaults, held objects, buffers; code that asks for them."""

import copy
import dataclasses
import functools
import types
from typing import Any, ClassVar

import torch
from torch import nn

from kit.corpus.rows import Family, floats

__all__ = ["BUFFERS", "HELD_OBJECTS", "HELD_VALUES", "OUTER_VARIABLES"]

# ruff: noqa: PERF401 - the statements of users' modules, as they are


def now():
    """Describe the variables outside of the modules of this file."""
    holders = [STATE, COUNT, LOG, LIST, DICT, TABLE, TENSOR, *map(vars, (RECORD, PLAIN, SPACE))]
    classes = [InClassDict.memory, InDefault.run.__defaults__, KeptInDefault.run.__defaults__]
    closures = [cell.cell_contents for kind in (Inner, KeptInner) for cell in kind.forward.__closure__ or ()]
    return str([holders, classes, closures, KeptInClass.kept, ClassSetInLoop.h])


OUTER_VARIABLES = Family("outer variables", outside=now)
right, core, refused = OUTER_VARIABLES.right, OUTER_VARIABLES.core, OUTER_VARIABLES.refused


@dataclasses.dataclass
class Record:
    h: Any = None


class Plain:
    h: Any = None


STATE: Any = None
COUNT = 0
TENSOR = torch.zeros(1, 4)
LIST: list[Any] = [None]
LOG: list[Any] = []
DICT: dict[str, Any] = {"h": None}
TABLE: dict[str, Any] = {}
RECORD, PLAIN, SPACE = Record(), Plain(), types.SimpleNamespace(h=None)


class Stepping(nn.Module):
    """Runs a cell over the steps; where its state is while it does, and what it begins with, is another's matter."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

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


@right
class InList(Stepping):
    def forward(self, x):
        LIST[0], outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            LIST[0] = self.cell(x[:, t], LIST[0])
            outputs.append(LIST[0])
        return torch.stack(outputs, 1)


@right
class InObject(Stepping):
    holder: Any = RECORD

    def forward(self, x):
        holder, outputs = self.holder, []
        holder.h = self.begun(x, None)
        for t in range(x.size(1)):
            holder.h = self.cell(x[:, t], holder.h)
            outputs.append(holder.h)
        return torch.stack(outputs, 1)


@right
class InPlain(InObject):
    holder = PLAIN


@right
class InNamespace(InObject):
    holder = SPACE


@right
class InClassDict(Stepping):
    memory: ClassVar[Any] = {}

    def forward(self, x):
        self.memory["h"], outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            self.memory["h"] = self.cell(x[:, t], self.memory["h"])
            outputs.append(self.memory["h"])
        return torch.stack(outputs, 1)


@core
class InDefault(Stepping):
    def forward(self, x):
        return self.run(x)

    def run(self, x, memory={}):  # noqa: B006 - that is what is tried
        memory["h"], outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            memory["h"] = self.cell(x[:, t], memory["h"])
            outputs.append(memory["h"])
        return torch.stack(outputs, 1)


@right
class Logging(Stepping):
    def forward(self, x):
        global COUNT
        COUNT += 1
        LOG.append(x)
        return self.steps(x, self.begun(x, None))


@right
class MakingTable(Stepping):
    def forward(self, x):
        if "scale" not in TABLE:
            TABLE["scale"] = torch.arange(4.0)
        return self.steps(x, self.begun(x, None)) * TABLE["scale"]


@refused(
    r"keeps a state in the global variable `STATE` of outside_states\.py from one call to the next",
    is_core=True,
    is_located=False,
)
class KeptGlobal(Stepping):
    def forward(self, x):
        global STATE
        outputs = self.steps(x, self.begun(x, STATE))
        STATE = outputs[:, -1]
        return outputs


@refused(r"keeps a state in the global variable `DICT` of outside_states\.py", is_located=False)
class KeptInDict(Stepping):
    def forward(self, x):
        outputs = self.steps(x, self.begun(x, DICT["h"]))
        DICT["h"] = outputs[:, -1]
        return outputs


@refused(r"keeps a state in the global variable `PLAIN` of outside_states\.py", is_located=False)
class KeptInObject(Stepping):
    def forward(self, x):
        outputs = self.steps(x, self.begun(x, PLAIN.h))
        PLAIN.h = outputs[:, -1]
        return outputs


@refused(r"keeps a state in the attribute `kept` of the class `KeptInClass`", is_located=False)
class KeptInClass(Stepping):
    kept: Any = None

    def forward(self, x):
        outputs = self.steps(x, self.begun(x, type(self).kept))
        type(self).kept = outputs[:, -1]
        return outputs


@refused(r"keeps a state in a default of a parameter of `KeptInDefault\.run`", is_located=False)
class KeptInDefault(Stepping):
    def forward(self, x):
        return self.run(x)

    def run(self, x, memory=[None]):  # noqa: B006
        outputs = self.steps(x, self.begun(x, memory[0]))
        memory[0] = outputs[:, -1]
        return outputs


@refused(r"keeps a state in the global variable `TENSOR` of outside_states\.py", is_located=False)
class Written(Stepping):
    def forward(self, x):
        outputs = self.steps(x, TENSOR.expand(x.size(0), 4))
        TENSOR.copy_(outputs[:, -1].mean(0, keepdim=True))
        return outputs


@refused(r"changes the global variable `COUNT` of outside_states\.py with each call", is_located=False)
class Counting(Stepping):
    def forward(self, x):
        global COUNT
        COUNT += 1
        return self.steps(x, self.begun(x, None)) + COUNT


@refused(r"sets the global variable `STATE` of outside_states\.py, and the next one reads it", is_core=True)
class SetInLoop(Stepping):
    def forward(self, x):
        global STATE
        STATE, outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            STATE = self.cell(x[:, t], STATE)
            outputs.append(STATE)
        return torch.stack(outputs, 1)


@refused(r"sets the attribute `h` of the class `ClassSetInLoop`, and the")
class ClassSetInLoop(Stepping):
    h: Any = None

    def forward(self, x):
        ClassSetInLoop.h, outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            ClassSetInLoop.h = self.cell(x[:, t], ClassSetInLoop.h)
            outputs.append(ClassSetInLoop.h)
        return torch.stack(outputs, 1)


def in_functions():
    """Classes whose functions have variables of this one."""
    state: Any = None
    held: dict[str, Any] = {"h": None}

    class Inner(Stepping):
        def forward(self, x):
            nonlocal state
            state, outputs = self.begun(x, None), []
            held["h"] = self.begun(x, None)
            for t in range(x.size(1)):
                state = self.cell(x[:, t], state)
                held["h"] = held["h"] + state
                outputs.append(held["h"])
            return torch.stack(outputs, 1)

    class KeptInner(Stepping):
        def forward(self, x):
            nonlocal state
            outputs = self.steps(x, self.begun(x, state))
            state = outputs[:, -1]
            return outputs

    return Inner, KeptInner


Inner, KeptInner = in_functions()
right(Inner)
refused(r"keeps a state in the variable `state` around `in_functions\.<locals>\.KeptInner", is_located=False)(KeptInner)


HELD_OBJECTS = Family("held objects")


class Decoder:
    """No module: it holds a cell, a tensor, and what `more` puts there."""

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
    """Holds a decoder as it is, or in a list or a dict."""

    def __init__(self, decoder, within="attribute"):
        super().__init__()
        self.held = {"attribute": decoder, "list": [decoder], "dict": {"first": decoder}}[within]

    def forward(self, x):
        held = self.held
        decoder = held[0] if isinstance(held, list) else held["first"] if isinstance(held, dict) else held
        return decoder.way(decoder, x)


def plain(self, x):
    return self.drop(self.loop(x))


def kept(self, x):
    if self.h is None or self.h.shape[0] != x.size(0):
        self.h = x.new_zeros(x.size(0), 4)
    self.h = self.cell(x[:, 0], self.h)
    return self.h * 1


def added(self, x):
    self.h = self.h + 1
    return self.loop(x) + self.h


def listed(self, x):
    self.history.append(self.loop(x))
    return self.history[-1] + self.history[-2].mean()


def counted(self, x):
    self.calls += 1
    return self.loop(x) + self.calls


def counted_only(self, x):
    self.calls += 1
    return self.loop(x)


def hold(name, way, within="attribute", refused="", *, is_core=False, **more):
    """Add a row of a module that holds a decoder, which holds more."""
    HELD_OBJECTS.add(
        f"{name}, in {within}",
        lambda: Holding(Decoder(way, **copy.deepcopy(more)), within),
        refused=refused.replace("{path}", {"attribute": "held", "list": "held.0", "dict": "held.first"}[within]),
        is_located=False,
        is_core=is_core,
    )


hold("a decoder", plain, is_core=True)
hold("a decoder that counts", counted_only, calls=0)
for within in ("attribute", "list", "dict"):
    hold("a decoder", plain, within) if within != "attribute" else None
    hold("a list that grows", listed, within, r"\['{path}\.history'\]", history=[torch.zeros(1)])
    hold("a number", counted, within, r"changes \['{path}\.calls'\] with each call", calls=0)
    hold("a state that is added to", added, within, r"keeps \['{path}\.h'\] from one call to", h=torch.zeros(4))
    hold(
        "a state made anew for other rows",
        kept,
        within,
        r"keeps \['{path}\.h'\] .*state_attributes=\['{path}\.h'\]",
        is_core=within == "attribute",
        h=None,
    )


def dropping():
    holding = Holding(Decoder(plain))
    holding.held.drop.train()
    return holding


HELD_OBJECTS.add(
    "dropout that eval does not reach",
    dropping,
    refused=r"on `held\.cell`, `held\.drop`, which \.eval\(\) of the module does",
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
    "list": (lambda one, other: [one, other], list),
    "dict": (lambda one, other: {"a": one, "b": other}, lambda held: held.values()),
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


class Writing(nn.Module):
    """A cell in a loop, and buffers of several shapes."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        for name in ("seen", "count", "steps", "memory"):
            self.register_buffer(name, torch.zeros(4))
        self.register_buffer("parts", torch.zeros(2, 4))


BUFFERS = Family("buffers", Writing, is_located=False)
right, core, refused = BUFFERS.right, BUFFERS.core, BUFFERS.refused


@right
def set_at_each_step_to_another_shape(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        self.seen = h * 2
        outputs.append(h + self.seen)
    return torch.stack(outputs, 1)


@core
def counted(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        self.steps += 1
        outputs.append(h)
    self.count += 1
    self.count.mul_(2)
    return torch.stack(outputs, 1)


@right
def written_over_first(self, x):
    self.memory.zero_()
    self.memory.add_(1).mul_(3)
    self.seen.copy_(self.memory)
    return x[..., :1] * self.seen


@right
def written_in_parts(self, x):
    self.parts[0] = x.sum(2)[0, 0]
    self.parts[1] = self.parts[0] * 2 + self.count
    self.parts.copy_(self.parts + 1)
    return x * 2


@right
def of_another_buffer(self, x):
    self.seen = self.seen + self.count
    self.count = self.count + x.sum()
    return x * 2


@refused(r"keeps \['(memory)'\] from one call to the next.*state_attributes=")
def read_through_another(self, x):
    self.memory.add_(1)
    self.seen.copy_(self.memory)
    return x[..., :1] * self.seen


@refused(r"keeps \['(memory|steps)'\] from one call to the next.*state_attributes=")
def read_in_the_next_call_but_one(self, x):
    self.steps += 1
    y = x[..., :1] * self.memory
    self.memory = self.memory + self.steps
    return y


@refused(is_core=True, phrase=r"keeps \['(steps)'\] from one call to the next.*state_attributes=")
def counted_in_the_loop_and_read(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        self.steps += 1
        outputs.append(h + self.steps)
    return torch.stack(outputs, 1)


@refused(r"keeps \['(parts)'\] from one call to the next.*state_attributes=")
def read_where_it_was_not_written(self, x):
    self.parts[0] = x.sum(2)[0, 0]
    return x[..., :1] * self.parts.sum(0)


@refused(r"keeps \['(memory)'\] from one call to the next.*state_attributes=")
def made_anew_for_other_rows(self, x):
    if self.memory.dim() == 1 or self.memory.size(0) != x.size(0):
        self.memory = x.new_zeros(x.size(0), 4)
    self.memory = self.cell(x[:, 0], self.memory)
    return self.memory * 1


@right
class Field(nn.Module):
    """As a neural field of Amari: potentials with a rest, and stimuli that are kept for others to look at."""

    first: torch.Tensor

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3, 6, bias=False)
        self.weight = nn.Parameter(torch.randn(6, 6) / 3)
        self.rest = nn.Parameter(torch.randn(6))
        self.register_buffer("external", torch.zeros(6), persistent=False)
        self.register_buffer("internal", torch.zeros(6), persistent=False)
        self.register_buffer("first", -7 * torch.ones(1, 6), persistent=False)

    def one_step(self, x_t, u):
        self.external = self.embedding(x_t)
        self.internal = torch.sigmoid(u + self.rest) @ self.weight
        if self.external.shape != self.internal.shape:
            raise RuntimeError("shapes differ")
        change = self.external + self.internal + self.rest - u + 0.01 * (self.rest - u) ** 3
        return (u + change / 10).clamp(-100, 100)

    def forward(self, x):
        u, potentials = self.first.repeat(x.size(0), 1), []
        for x_t in x.permute(1, 0, 2):
            u = self.one_step(x_t, u)
            potentials.append(u)
        return torch.stack(potentials, 1)


class Keeping(nn.Module):
    """A loop over steps whose state is an attribute.

    Args:
        initial: Its value before the first call.
        ending: Function that gives the value after a call, of the module and its input.
    """

    def __init__(self, initial, ending):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(3))
        self.state, self.ending = initial, ending

    def forward(self, x):
        for step in x.unbind(1):
            self.state = torch.tanh(self.state + step.sum(0))
        y = self.state * 1
        self.state = self.ending(self, x)
        return y


def written_in_place(_, x):
    state = torch.zeros(3)
    state[:2] = x[0, 0, :2]
    return state


def like_it(module, _):
    return torch.zeros_like(module.state)


def keep(name, ending, initial=(0.0, 0.0, 0.0), **more):
    BUFFERS.add(name, lambda: Keeping(torch.tensor(initial), ending), **more)


KEPT = r"keeps \['state'\] from one call to the next"
keep("put back to zeros like it", like_it)
keep("put back to zeros like a part of the input", lambda _, x: x.new_zeros(3))
keep("put back to a parameter", lambda module, _: module.start.detach().clone())
keep("left as computed", lambda module, _: module.state, refused=KEPT)
keep("left as nothing of the input", lambda _, x: x[0, 0] * 0, refused=KEPT)
keep("left as a place that the input is written to", written_in_place, refused=KEPT)
keep("left as another value than the first", like_it, (1.0, 1.0, 1.0), refused=KEPT)
keep("left as another shape than the first", lambda _, x: x.new_zeros(3), (0.0,), refused=KEPT)


@core
class Resized(nn.Module):
    """A number of rows in an attribute, which is set if the input has another."""

    def __init__(self):
        super().__init__()
        self.rows = 1

    def forward(self, x):
        if self.rows != x.size(0):
            self.rows = x.size(0)
        h, outputs = x.new_zeros(self.rows, 3), []
        for x_t in x.unbind(1):
            h = torch.tanh(0.9 * h + x_t)
            outputs.append(h)
        return torch.stack(outputs, 1)


class Asking(nn.Module):
    """A step that asks, with buffers and a parameter."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.linear = nn.Linear(4, 4)
        self.register_buffer("input_size", torch.Tensor([4]))
        self.register_buffer("hidden_size", torch.Tensor([8]))
        self.register_buffer("layers", torch.tensor(2))
        self.register_buffer("is_residual", torch.tensor(True))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("last", torch.zeros(1, 4))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, h):
        return self.way(self, x, h)


class Once(nn.Module):
    """Asks once, beside a layer."""

    def __init__(self, way):
        super().__init__()
        self.cell, self.gru = Asking(way), nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return self.cell(x, self.gru(x)[0])


class EachStep(nn.Module):
    """Asks in each step."""

    def __init__(self, way):
        super().__init__()
        self.cell = Asking(way)

    def forward(self, x):
        h, outputs = x.new_zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h) * 0.1
            outputs.append(h)
        return torch.stack(outputs, 1)


HELD_VALUES = Family("held values", arguments=(floats("batch", "sequence", 4),))


def asks(way):
    """Add rows of a cell that asks for a value: once, and in each step."""
    name = way.__name__.replace("_", " ")
    HELD_VALUES.add(f"once, {name}", lambda: Once(way), is_core=name in ("by a flag", "as an index"))
    HELD_VALUES.add(f"in each step, {name}", lambda: EachStep(way))


def changes(buffer):
    """Add rows of a cell whose calls change a value that it asks for."""

    def add(way):
        said = rf"keeps \['cell.{buffer}'\] from one call to the next"
        HELD_VALUES.add(way.__name__.replace("_", " "), lambda: Once(way), refused=said, is_located=False)

    return add


@asks
def by_equality_and_left_early(self, x, h):
    if self.input_size == self.hidden_size:
        return x + h
    return torch.tanh(self.linear(x)) + h


@asks
def by_a_flag(self, x, h):
    return self.linear(x) + h if self.is_residual else h


@asks
def as_a_number_of_layers(self, x, h):
    for _ in range(int(self.layers)):
        h = torch.tanh(self.linear(x) + h)
    return h


@asks
def as_an_index(self, x, h):
    return self.linear(x) + h * [1.0, 2.0, 3.0][self.layers]


@asks
def as_a_float(self, x, h):
    return self.linear(x) * float(self.scale) + h


@asks
def as_a_list_and_an_array(self, x, h):
    return self.linear(x) * self.input_size.tolist()[0] + h * float(self.hidden_size.numpy()[0])


@asks
def of_what_is_computed(self, x, h):
    parts = torch.cat([self.input_size * 2, self.hidden_size]).clone()
    if torch.equal(parts[:1], parts[1:]) and self.linear.bias.abs().amax().item() < 100:
        h = h * self.scale
    return self.linear(x) + h


@asks
def of_a_copy_that_is_written_to(self, x, h):
    copied = self.hidden_size.clone()
    copied[0] = 1.0
    return self.linear(x) + h * (self.hidden_size - copied).sum()


@changes("calls")
def counts_in_place(self, x, h):
    if self.calls > 0:
        h = h * 2
    self.calls += 1
    return self.linear(x) + h


@changes("calls")
def counts_anew(self, x, h):
    if int(self.calls) > 0:
        h = h * 2
    self.calls = self.calls + 1
    return self.linear(x) + h


@changes("last")
def keeps_what_it_computed(self, x, h):
    if self.last.sum() == 0:
        h = h + 1
    self.last = self.linear(x)[..., -1:, :].reshape(-1, 4)
    return self.linear(x) + h
