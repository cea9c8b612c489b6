"""Loops of Python that become scans: what is easily rolled wrong, and conditions that a few traces have one side of."""

import re

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx

AXES = {0: "batch", 1: "sequence"}


class Loop(nn.Module):
    """A cell and a loop that `run` is; of x (batch, sequence, 3)."""

    def __init__(self, run):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.pair, self.run = nn.GRUCell(3, 3), nn.LSTMCell(3, 3), run
        self.register_buffer("table", torch.randn(50, 3))

    def forward(self, x):
        return self.run(self, x)


def exported(run, **more):
    module = Loop(run).eval()
    program = export_onnx(
        module,
        (torch.randn(3, 12, 3),),
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=(AXES,),
        **more,
    )
    return module, onnxruntime.InferenceSession(program.model_proto.SerializeToString())


def assert_equals_eager(run, calls=((1, 1), (2, 2), (1, 3), (3, 40)), **more):
    module, session = exported(run, **more)
    for batch, length in calls:
        x = torch.randn(batch, length, 3)
        (found,) = session.run(["y"], {"x": x.numpy()})
        with torch.no_grad():
            expected = module(x).numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def refusal(run, **more):
    with pytest.raises(UnsupportedModule) as raised:
        exported(run, **more)
    return str(raised.value)


def states(self, x, change=lambda h, t: h):
    h, outputs = torch.zeros_like(x[:, 0]), []
    for t in range(x.size(1)):
        h = change(self.cell(x[:, t], h), t)
        outputs.append(h)
    return torch.stack(outputs, 1)


def test_first_step_apart_is_right_for_one_step():
    def run(self, x):
        h = torch.sigmoid(x[:, 0])
        for t in range(1, x.size(1)):
            h = torch.tanh(h + x[:, t]) * 0.5
        return torch.sigmoid(h)

    assert_equals_eager(run)


def test_loop_without_steps_keeps_states_and_gives_no_outputs():
    def run(self, x):
        h, outputs = torch.zeros_like(x[:, 0]), [x[:, 0]]
        for t in range(1, x.size(1)):
            h = self.cell(x[:, t], h)
            outputs.append(h)
        return torch.stack([*outputs, h], 1)

    assert_equals_eager(run)


def test_unused_state_of_the_last_step_is_rolled_with_the_others():
    def run(self, x):
        h = c = torch.zeros_like(x[:, 0])
        for t in range(x.size(1)):
            h, c = self.pair(x[:, t], (h, c))
        return h

    assert_equals_eager(run)


def test_value_of_the_last_step_that_no_step_carries():
    def run(self, x):
        h = before = torch.zeros_like(x[:, 0])
        for t in range(x.size(1)):
            before = torch.sigmoid(h)
            h = self.cell(x[:, t], h)
        return before + h

    assert_equals_eager(run)


def test_operators_of_several_results_within_a_step():
    def run(self, x):
        h = torch.zeros_like(x[:, 0])
        for t in range(x.size(1)):
            largest, at = (h + x[:, t]).max(1, keepdim=True)
            h = torch.tanh(h + largest + at)
        return h

    assert_equals_eager(run)


def test_first_state_of_another_shape():
    def run(self, x):
        h = torch.zeros(1, 3)
        for t in range(x.size(1)):
            h = torch.tanh(h + x[:, t])
        return h

    assert_equals_eager(run)


def test_constants_that_each_step_makes():
    def run(self, x):
        h = torch.zeros_like(x[:, 0])
        for t in range(x.size(1)):
            h = torch.tanh(h * torch.tensor(0.5) + x[:, t] * torch.tensor([1.0, 2.0, t]) / torch.tensor(t + 1))
        return h

    assert_equals_eager(run)


def test_sizes_within_a_step():
    def run(self, x):
        h = torch.zeros_like(x)
        for t in range(x.size(1)):
            h = torch.tanh(h + x[:, t : t + 1]) / x.size(1)
        return h.view(x.size(0) * x.size(1), 3)

    assert_equals_eager(run)


def test_loops_over_the_outputs_of_loops():
    def run(self, x):
        for _ in range(3):
            x = states(self, x)
        return x

    assert_equals_eager(run)


def test_two_steps_apart_are_refused_with_the_sizes_to_name_and_right_with_these():
    def run(self, x):
        h = torch.zeros_like(x[:, 0])
        for t in range(x.size(1)):
            h = h + x[:, t] if t == 0 else h * x[:, t] if t == 1 else torch.tanh(h + x[:, t])
        return torch.cat([h, torch.tanh(x[:, 1])], 1) if x.size(1) > 1 else torch.cat([h, h], 1)

    assert re.search(r'sizes=\{"sequence": \(', refusal(run))
    assert_equals_eager(run, calls=((2, 2), (1, 3), (3, 40)), sizes={"sequence": (2, None)})


def test_in_place_changes_of_views_of_views():
    def run(self, x):
        out, h = torch.zeros_like(x), torch.zeros_like(x[:, 0])
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            step = out.transpose(0, 1)[t]
            step[:, :2] += h[:, :2]
            out[:, t].mul_(2)
        return out

    assert_equals_eager(run)


def test_window_that_moves():
    def run(self, x):
        x = nn.functional.pad(x, (0, 0, 2, 0))
        return torch.stack([x[:, t : t + 3].mean(1) for t in range(x.size(1) - 2)], 1)

    assert_equals_eager(run)


@pytest.mark.parametrize(
    "run",
    [
        lambda self, x: states(self, x) * (2 if x.size(1) > 256 else 1),
        lambda self, x: states(self, x) * (2 if x.shape[1] >= 12_000 else 1),
        lambda self, x: states(self, x) * min(x.size(1), 40),
        lambda self, x: states(self, x)[:, -20:].sum(1),
        lambda self, x: states(self, x) * (2 if x.size(0) > 48 else 1),
    ],
    ids=["a length", "a large length", "min", "a part", "rows"],
)
def test_conditions_on_sizes_are_refused_with_their_line(run):
    assert re.search(r"test_rolled_loops\.py:\d+\) has a condition on the axis", refusal(run))


@pytest.mark.parametrize(
    "change",
    [
        lambda h, t: h * 2 if t == 700 else h,
        lambda h, t: torch.zeros_like(h) if t >= 30 else h,
        lambda h, t: h * 2 if t % 2 else h,
    ],
    ids=["one step", "late steps", "every second step"],
)
def test_steps_that_are_not_alike_are_refused(change):
    said = refusal(lambda self, x: states(self, x, change))
    assert "is exported as it is if its steps are alike" in said or "gives other values" in said


def test_branch_on_values_is_refused_with_its_line_and_torch_where():
    said = refusal(lambda self, x: states(self, x, lambda h, t: h * 2 if h.sum() > 0 else h))
    assert re.search(r"test_rolled_loops\.py:\d+.*torch\.where", said, re.DOTALL)


def test_bounds_keep_a_condition_out():
    def run(self, x):
        return states(self, x) * (2 if x.size(1) > 256 else 1)

    assert_equals_eager(run, sizes={"sequence": (1, 256)})


def test_steps_that_are_read_before_the_loop_are_inputs_of_one_scan():
    """So that the model can be sent a sequence in parts: nothing reads how many steps there are."""

    def run(self, x):
        h, outputs = x.new_zeros(x.size(0), 3), []
        for gate, step in zip(x.sigmoid().unbind(1), x.unbind(1), strict=True):
            h = torch.lerp(h, step, gate)
            outputs.append(h)
        return torch.stack(outputs, 1)

    module = Loop(run).eval()
    program = export_onnx(
        module, (torch.randn(3, 12, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=(AXES,)
    )
    operators = [node.op_type for node in program.model_proto.graph.node]
    assert operators.count("Scan") == 1
    assert "Range" not in operators
    assert_equals_eager(run)
