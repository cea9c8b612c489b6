"""States outside of a module: global variables, variables of functions around it, attributes of classes, defaults.

What a loop sets in them is run, a state that is kept there is refused by its name, and all are left as they were.
"""

import dataclasses
import types
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import Floats, UnsupportedModule, export_onnx, publish
from rnnserve.export.outer_variables import held_values, outer_variables
from rnnserve.export.parity import OnnxRunner

ROWS = ({0: "batch", 1: "sequence"},)


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


class InDict(Stepping):
    def forward(self, x):
        DICT["h"], outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            DICT["h"] = self.cell(x[:, t], DICT["h"])
            outputs.append(DICT["h"])
        return torch.stack(outputs, 1)


class InList(Stepping):
    def forward(self, x):
        LIST[0], outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            LIST[0] = self.cell(x[:, t], LIST[0])
            outputs.append(LIST[0])
        return torch.stack(outputs, 1)


class InObject(Stepping):
    holder: Any = RECORD

    def forward(self, x):
        holder, outputs = self.holder, []
        holder.h = self.begun(x, None)
        for t in range(x.size(1)):
            holder.h = self.cell(x[:, t], holder.h)
            outputs.append(holder.h)
        return torch.stack(outputs, 1)


class InPlain(InObject):
    holder = PLAIN


class InNamespace(InObject):
    holder = SPACE


class InClassDict(Stepping):
    memory: ClassVar[Any] = {}

    def forward(self, x):
        self.memory["h"], outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            self.memory["h"] = self.cell(x[:, t], self.memory["h"])
            outputs.append(self.memory["h"])
        return torch.stack(outputs, 1)


class InDefault(Stepping):
    def forward(self, x):
        return self.run(x)

    def run(self, x, memory={}):  # noqa: B006 - that is what is tried
        memory["h"], outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            memory["h"] = self.cell(x[:, t], memory["h"])
            outputs.append(memory["h"])
        return torch.stack(outputs, 1)


class Logging(Stepping):
    def forward(self, x):
        global COUNT
        COUNT += 1
        LOG.append(x)
        return self.steps(x, self.begun(x, None))


class MakingTable(Stepping):
    def forward(self, x):
        if "scale" not in TABLE:
            TABLE["scale"] = torch.arange(4.0)
        return self.steps(x, self.begun(x, None)) * TABLE["scale"]


class KeptGlobal(Stepping):
    def forward(self, x):
        global STATE
        outputs = self.steps(x, self.begun(x, STATE))
        STATE = outputs[:, -1]
        return outputs


class KeptInDict(Stepping):
    def forward(self, x):
        outputs = self.steps(x, self.begun(x, DICT["h"]))
        DICT["h"] = outputs[:, -1]
        return outputs


class KeptInObject(Stepping):
    def forward(self, x):
        outputs = self.steps(x, self.begun(x, PLAIN.h))
        PLAIN.h = outputs[:, -1]
        return outputs


class KeptInClass(Stepping):
    kept: Any = None

    def forward(self, x):
        outputs = self.steps(x, self.begun(x, type(self).kept))
        type(self).kept = outputs[:, -1]
        return outputs


class KeptInDefault(Stepping):
    def forward(self, x):
        return self.run(x)

    def run(self, x, memory=[None]):  # noqa: B006
        outputs = self.steps(x, self.begun(x, memory[0]))
        memory[0] = outputs[:, -1]
        return outputs


class Written(Stepping):
    def forward(self, x):
        outputs = self.steps(x, TENSOR.expand(x.size(0), 4))
        TENSOR.copy_(outputs[:, -1].mean(0, keepdim=True))
        return outputs


class Counting(Stepping):
    def forward(self, x):
        global COUNT
        COUNT += 1
        return self.steps(x, self.begun(x, None)) + COUNT


class SetInLoop(Stepping):
    def forward(self, x):
        global STATE
        STATE, outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            STATE = self.cell(x[:, t], STATE)
            outputs.append(STATE)
        return torch.stack(outputs, 1)


class ClassSetInLoop(Stepping):
    h: Any = None

    def forward(self, x):
        ClassSetInLoop.h, outputs = self.begun(x, None), []
        for t in range(x.size(1)):
            ClassSetInLoop.h = self.cell(x[:, t], ClassSetInLoop.h)
            outputs.append(ClassSetInLoop.h)
        return torch.stack(outputs, 1)


class WithoutLookingAtRows(Stepping):
    def forward(self, x):
        global STATE
        outputs = self.steps(x, x.new_zeros(x.size(0), 4) if STATE is None else STATE)
        STATE = outputs[:, -1]
        return outputs


class WithoutLookingAtRowsOfAnAttribute(Stepping):
    kept: Any = None

    def forward(self, x):
        outputs = self.steps(x, x.new_zeros(x.size(0), 4) if self.kept is None else self.kept)
        self.kept = outputs[:, -1]
        return outputs


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


def now(module):
    """What is outside of a module, deep enough for these."""
    every = [(each.label, each.get()) for each in outer_variables(module)]
    every += [
        (label, vars(value)) for label, value in every if isinstance(value, Record | Plain | types.SimpleNamespace)
    ]
    return str([*every, STATE, COUNT, LOG, LIST, DICT, TABLE, TENSOR])


def exported(module):
    return export_onnx(
        module.eval(), (torch.randn(3, 4, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=ROWS
    )


RUN = [InDict, InList, InObject, InPlain, InNamespace, InClassDict, InDefault, Inner, Logging, MakingTable]


@pytest.mark.parametrize("kind", RUN)
def test_what_a_call_sets_outside_is_run_and_left_as_it_was(kind):
    torch.manual_seed(1)
    module = kind()
    before = now(module)
    run = OnnxRunner(exported(module).model_proto.SerializeToString())
    assert now(module) == before
    for sizes in ((1, 1), (2, 7), (5, 30)):
        x = torch.randn(*sizes, 3)
        with torch.no_grad():
            np.testing.assert_allclose(run({"x": x.numpy()})["y"], module(x).numpy(), rtol=1e-5, atol=3e-6)


REFUSED = {
    KeptGlobal: r"keeps a state in the global variable `STATE` of test_outer_variables\.py from one call to the next",
    KeptInDict: r"keeps a state in the global variable `DICT` of test_outer_variables\.py",
    KeptInObject: r"keeps a state in the global variable `PLAIN` of test_outer_variables\.py",
    KeptInClass: r"keeps a state in the attribute `kept` of the class `KeptInClass`",
    KeptInDefault: r"keeps a state in a default of a parameter of `KeptInDefault\.run`",
    KeptInner: r"keeps a state in the variable `state` around `in_functions\.<locals>\.KeptInner\.forward`",
    Written: r"keeps a state in the global variable `TENSOR` of test_outer_variables\.py",
    Counting: r"changes the global variable `COUNT` of test_outer_variables\.py with each call",
    SetInLoop: r"test_outer_variables\.py:\d+ .*sets the global variable `STATE` of test_outer_variables\.py, and the "
    "next one reads it",
    ClassSetInLoop: r"test_outer_variables\.py:\d+ .*sets the attribute `h` of the class `ClassSetInLoop`, and the",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_state_outside_is_refused_by_its_name_and_left_as_it_was(kind):
    module = kind()
    before = now(module)
    with pytest.raises(UnsupportedModule, match=REFUSED[kind]) as raised:
        exported(module)
    assert "\n" not in str(raised.value)
    assert "state_attributes=['the " not in str(raised.value)
    assert now(module) == before


@pytest.mark.parametrize(
    ("kind", "name"),
    [(WithoutLookingAtRows, "the global variable `STATE`"), (WithoutLookingAtRowsOfAnAttribute, r"\['kept'\]")],
)
def test_a_state_of_other_rows_is_why_a_description_does_not_fit(kind, name, tmp_path):
    module = kind().eval()
    before = now(module)
    with pytest.raises(UnsupportedModule, match=f"keeps .*{name}"):
        publish(
            module,
            "m",
            repository=tmp_path,
            inputs={"x": Floats("batch", "sequence", 3)},
            outputs=["y"],
            progress=False,
        )
    assert now(module) == before
    assert module.kept is None if isinstance(module, WithoutLookingAtRowsOfAnAttribute) else STATE is None


def test_values_of_torch_and_of_others_are_no_variables_of_the_users():
    labels = {each.label for each in outer_variables(nn.GRU(3, 4))}
    assert not labels
    assert held_values(nn.Linear(2, 2))["in_features"] == [2]
