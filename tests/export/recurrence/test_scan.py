"""`scan`: steps of any kind as ONNX Scan, against eager at sizes unlike the sample."""

import itertools

import pytest
import torch
from torch import nn
from torch._higher_order_ops.scan import scan as prototype_scan

from kit.scanned_modules import CELLS, TWO_STATES, module_of
from rnnserve.export import export_onnx, scan

AXES = {0: "batch", 1: "sequence"}
EPSILON = torch.finfo(torch.float32).eps


class Scanned(nn.Module):
    """Cells that run over a sequence: layers, directions, batch-first or not, all steps or those within lengths."""

    def __init__(self, make, layers, bidirectional, batch_first, ragged):
        super().__init__()
        self.directions, self.batch_dim, self.ragged = 1 + bidirectional, 0 if batch_first else 1, ragged
        sizes = [(3 if layer == 0 else 4 * self.directions, 4) for layer in range(layers)]
        self.cells = nn.ModuleList(make(*each) for each in sizes for _ in range(self.directions))

    def direction(self, cell, input, inside, reverse):
        zeros = input.new_zeros(input.shape[self.batch_dim], 4)
        two = isinstance(cell, TWO_STATES)

        def step(state, each):
            x, here = each  # (batch, features), (batch,)
            after = cell(x, state)
            if self.ragged:
                kept = here.unsqueeze(1)
                pairs = zip(after, state, strict=True) if two else [(after, state)]
                after = tuple(torch.where(kept, new, old) for new, old in pairs)
                after = after if two else after[0]
            h = after[0] if two else after
            return after, torch.where(here.unsqueeze(1), h, 0.0) if self.ragged else h

        return scan(step, (zeros, zeros) if two else zeros, (input, inside), dim=1 - self.batch_dim, reverse=reverse)

    def forward(self, input, inside):
        finals = []
        for first in range(0, len(self.cells), self.directions):
            results = [
                self.direction(cell, input, inside, bool(number))
                for number, cell in enumerate(self.cells[first : first + self.directions])
            ]
            finals.append([final for final, _ in results])
            input = torch.cat([output for _, output in results], dim=2)
        return input, finals


def share(cell):
    """A quarter of the combinations of layers, directions, layout and lengths; all of them among four cells."""
    number = list(CELLS).index(cell)
    forms = itertools.product((1, 2), (False, True), (False, True), (False, True))
    return [form for form in forms if sum(form) % 2 == number % 2 and sum(form[::2]) % 2 == number // 2 % 2]


class Everything(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.forms = share(cell)
        self.members = nn.ModuleList(Scanned(CELLS[cell], *form) for form in self.forms)

    def forward(self, input, lengths):
        inside = torch.arange(input.size(1)) < lengths.unsqueeze(1)  # (batch, sequence)
        return [
            member(input, inside) if batch_first else member(input.transpose(0, 1), inside.transpose(0, 1))
            for member, (_, _, batch_first, _) in zip(self.members, self.forms, strict=True)
        ]


@pytest.mark.parametrize("cell", CELLS)
def test_every_form_equals_eager_at_other_sizes(exported, cell):
    torch.manual_seed(5)
    module = Everything(cell)
    result = exported(module, (torch.randn(3, 4, 3), torch.tensor([4, 2, 1])), (AXES, {0: "batch"}))
    for rows in ([1], [1, 1, 1], [6], [2, 9, 9, 1, 5], [13, 1]):
        # Of two layers, a few units in the last place of 1 for each step. Normalising four values divides by a small
        # deviation: after 13 steps, eager is itself 1e-4 away from the same module in float64.
        units = 8 if "normalised" not in cell else 16 if max(rows) == 1 else 100
        limit = units * EPSILON * max(rows)
        result.agrees(torch.randn(len(rows), max(rows), 3), torch.tensor(rows), limit=limit)
    assert result.operators.count("Scan") == sum(layers * (1 + both) for layers, both, _, _ in module.forms)
    for axes, (_, _, batch_first, _) in zip(
        [axes for axes in result.axes("outputs") if len(axes) == 3], module.forms, strict=True
    ):
        assert axes[:2] == (["batch", "sequence"] if batch_first else ["sequence", "batch"])


@pytest.mark.parametrize("reverse", [False, True])
def test_in_eager_it_is_pytorch_layer_and_learns(reverse):
    torch.manual_seed(6)
    lstm, cell = nn.LSTM(3, 4, batch_first=True), nn.LSTMCell(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in lstm.state_dict().items()})
    input, zeros = torch.randn(2, 5, 3), torch.zeros(2, 4)

    def step(state, x):
        h, c = cell(x, state)
        return (h, c), h

    (h_n, _), output = scan(step, (zeros, zeros), input, dim=1, reverse=reverse)
    expected, (h_n_expected, _) = lstm(input.flip(1) if reverse else input)
    torch.testing.assert_close(output.flip(1) if reverse else output, expected)
    torch.testing.assert_close(h_n, h_n_expected[0])
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in cell.parameters())


class Odd(nn.Module):
    """Nested scans, numbers of steps, states and constants as outputs, a layer in a step, a step that uses nothing."""

    def __init__(self):
        super().__init__()
        self.cell, self.inner, self.layer = nn.LSTMCell(3, 4), nn.GRUCell(4, 4), nn.GRU(4, 4, batch_first=True)
        self.start = nn.Parameter(torch.randn(1, 4))

    def forward(self, input):
        def one(state, x):
            h, c = self.cell(x, state)
            return (h, c), {"h": h, "again": h, "before": state[1], "constant": self.start, "x": x}

        start = self.start.expand(input.size(0), -1)
        final, outputs = scan(one, (start, torch.zeros_like(start)), input, dim=1)

        def two(h, each):
            x, number = each

            def inner(h, factor):
                h = self.inner(x * factor, h)
                return h, h.sum(1)

            h, sums = scan(inner, h, torch.arange(1.0, 3.0))
            h = torch.where(number % 2 == 0, h, -h) + self.layer(x.unsqueeze(1))[0][:, 0]
            return h, (sums, number)

        last, (sums, numbers) = scan(two, final[0], (outputs["h"].transpose(0, 1), torch.arange(input.size(1))))
        steps = input.transpose(0, 1)
        counted, _ = scan(lambda count, _: (count + 1, count), torch.zeros((), dtype=torch.int64), steps)
        only_state, nothing = scan(lambda total, x: (total + x, ()), torch.zeros_like(input[:, 0]), input, dim=-2)
        assert nothing == ()
        constants = scan(lambda _, __: (self.start * 2, self.start), self.start, input, dim=1)
        return final, outputs, last, sums, numbers, counted, only_state, constants


def test_odd_steps(plain):
    torch.manual_seed(7)
    result = plain(Odd())
    assert result.layers == 0, "the layer is within the step's graph"
    assert {"GRU_0/W", "GRU_0/R", "GRU_0/B"} <= {each.name for each in result.proto.graph.initializer}
    assert result.axes("outputs")[2:4] == [["batch", "sequence", 4], ["batch", "sequence", 4]]


class Decoder(nn.Module):
    """Each step reads what the step before it gave, and attends to the encoded source."""

    def __init__(self):
        super().__init__()
        self.encoder, self.cell = nn.GRU(3, 8, batch_first=True), nn.GRUCell(11, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, source, target):
        memory, h_n = self.encoder(source)  # (batch, source, 8), (1, batch, 8)

        def step(state, x):
            h, before = state
            weights = torch.softmax(torch.bmm(memory, h.unsqueeze(2)).squeeze(2), dim=1)  # (batch, source)
            context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
            h = self.cell(torch.cat((before + x, context), dim=1), h)
            output = self.head(h)
            return (h, output), (output, weights)

        return scan(step, (h_n[0], torch.zeros_like(target[:, 0])), target, dim=1)


def test_a_decoder_with_attention(exported):
    torch.manual_seed(13)
    arguments = (torch.randn(2, 3, 3), torch.randn(2, 4, 3))
    result = exported(Decoder(), arguments, ({0: "batch", 1: "source"}, {0: "batch", 1: "target"}))
    for batch, source, target in ((1, 1, 1), (5, 9, 2), (3, 2, 11)):
        result.agrees(torch.randn(batch, source, 3), torch.randn(batch, target, 3))
    assert result.axes("outputs")[2:] == [["batch", "target", 3], ["batch", "target", "source"]]


def test_the_prototype_of_torch(plain):
    def forward(self, input):
        def step(h, x):
            h = self.cell(x, h)
            return h, h.clone()

        return prototype_scan(step, input.new_zeros(input.size(0), 4), input, dim=1)

    assert plain(module_of(forward, cell=nn.GRUCell(3, 4))).operators.count("Scan") == 1


def test_the_same_bytes():
    def content():
        torch.manual_seed(8)
        program = export_onnx(
            Odd().eval(),
            (torch.randn(2, 3, 3),),
            input_names=["input"],
            output_names=[f"output_{number}" for number in range(14)],
            dynamic_shapes=(AXES,),
        )
        return program.model_proto.SerializeToString(deterministic=True)

    assert content() == content()
