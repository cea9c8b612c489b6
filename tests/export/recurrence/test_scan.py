"""`scan`: steps of any kind as ONNX Scan, against eager at sizes unlike the sample; refusals and the code they show."""

import itertools
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch._higher_order_ops.scan import scan as prototype_scan

from rnnserve.export import UnsupportedModule, export_onnx, scan

AXES = {0: "batch", 1: "sequence"}
EPSILON = torch.finfo(torch.float32).eps


class NormalisedLSTMCell(nn.Module):
    """LSTM with layer normalisation of the gates and of the cell state, written by hand."""

    def __init__(self, features, hidden):
        super().__init__()
        self.hidden_size = hidden
        self.input, self.state = nn.Linear(features, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in (4 * hidden, 4 * hidden, hidden))

    def forward(self, x, state):
        h, c = state
        gates = self.norms[0](self.input(x)) + self.norms[1](self.state(h))
        i, f, g, o = gates.chunk(4, dim=1)
        c = self.norms[2](torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
        return torch.sigmoid(o) * torch.tanh(c), c


class NormalisedCell(nn.Module):
    """One state, written by hand."""

    def __init__(self, features, hidden):
        super().__init__()
        self.hidden_size = hidden
        self.map, self.norm = nn.Linear(features + hidden, hidden), nn.LayerNorm(hidden)

    def forward(self, x, h):
        return torch.tanh(self.norm(self.map(torch.cat((x, h), dim=1))))


CELLS: dict[str, Any] = {
    "tanh": nn.RNNCell,
    "relu": lambda inputs, hidden: nn.RNNCell(inputs, hidden, nonlinearity="relu"),
    "gru": nn.GRUCell,
    "lstm": nn.LSTMCell,
    "normalised lstm": NormalisedLSTMCell,
    "normalised": NormalisedCell,
}
TWO_STATES = (nn.LSTMCell, NormalisedLSTMCell)


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

    assert plain(of(forward, cell=nn.GRUCell(3, 4))).operators.count("Scan") == 1


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


def of(forward, **members):
    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            for name, member in members.items():
                setattr(self, name, member)

    Module.forward = forward
    return Module().eval()


def stepping(step, init=lambda x: x[:, 0], xs=lambda x: x, **options):
    return lambda _, x: scan(step, init(x), xs(x), **{"dim": 1, **options})


def leaks(_, x):
    seen = []

    def step(h, each):
        seen.append(each * 2)
        return h + each, h

    final, outputs = scan(step, x[:, 0], x, dim=1)
    return final + seen[0], outputs


def leaks_within(_, x):
    seen = []

    def inner(h, each):  # each (batch,)
        seen.append(each * 2)
        return h + each, h

    def outer(h, each):  # each (batch, features)
        total, _ = scan(inner, h[:, 0], each, dim=1)
        return h + total[:, None], seen[-1]

    final, outputs = scan(outer, x[:, 0], x, dim=1)
    return final * 2, outputs * 2


def writes(_, x):
    total = torch.zeros(3)

    def step(h, each):
        total.view(3).add_(each.sum(0))
        return h + total, h

    return scan(step, x[:, 0], x, dim=1)


def counts(_, x):
    calls = []

    def step(h, each):
        calls.append(None)
        return h + each * len(calls), h

    return scan(step, x[:, 0], x, dim=1)


def takes_turns(self, x):
    weights = itertools.cycle([self.first, self.second])
    return scan(lambda h, each: (h + each * next(weights), h), x[:, 0], x, dim=1)


REFUSED = {
    "broadcast state": (
        stepping(lambda h, x: (h + x, h), lambda _: torch.zeros(1, 3)),
        r"changes the state from.*1, 3",
    ),
    "dtype of the state": (stepping(lambda h, x: (h.double(), x)), r"changes the state.*float32.*float64"),
    "structure of the state": (stepping(lambda h, x: ((h, h), x)), r"structure of the state"),
    "no state at first": (stepping(lambda h, x: (x, h), lambda _: None), r"NoneType.*zeros instead"),
    "states forgotten": (stepping(lambda h, _: (h, None)), r"NoneType.*pair"),
    "numbers as state": (stepping(lambda n, x: (n + 1, x), lambda _: 0), r"init with int"),
    "axis": (stepping(lambda h, x: (h, x), dim=3), r"dim=3 for xs"),
    "axis of one": (stepping(lambda h, x: (h, x[0]), xs=lambda x: (x, torch.ones(4)), dim=-2), r"dim=-2 for xs"),
    "too few axes in outputs": (stepping(lambda h, x: (h, x.sum())), r"output \(\).*1 axes or more"),
    "steps of two sizes": (stepping(lambda h, x: (h, x[0]), xs=lambda x: (x, torch.ones(2, 7))), r"same number"),
    "leak": (leaks, r"used outside the step"),
    "leak of a scan within another": (leaks_within, r"used outside the step"),
    "a write": (writes, r"writes to a tensor that it has not made"),
    "a write to the state": (stepping(lambda h, x: (h.mul_(0.5) + x, x)), r"writes to a tensor"),
    "tensors that take turns": (takes_turns, r"computes something else when it is called again"),
    "a count of calls": (counts, r"computes something else when it is called again"),
    "a branch": (stepping(lambda h, x: (h, x) if h.sum() > 0 else (x, h)), r"depends on the values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    forward, message = REFUSED[case]
    module = of(forward, first=nn.Parameter(torch.ones(3)), second=nn.Parameter(torch.ones(3)))
    with pytest.raises(UnsupportedModule, match=re.compile(message, re.DOTALL)):
        export_onnx(
            module,
            (torch.randn(3, 4, 3),),
            input_names=["input"],
            output_names=["state", "output"],
            dynamic_shapes=(AXES,),
        )


def test_no_step_is_refused():
    with pytest.raises(UnsupportedModule, match="without a step"):
        scan(lambda h, x: (h, x), torch.zeros(2, 3), torch.zeros(2, 0, 3), dim=1)


def test_writes_to_what_the_step_has_made_are_exported(plain):
    def step(h, x):
        made = h + x
        made[:, 0] = 0.0
        return made.mul_(0.5), made.clone().relu_()

    plain(of(stepping(step)))


def looped(self, input):
    """What is refused: a Python loop over the steps."""
    cell = self.cell[0] if isinstance(self.cell, nn.ModuleList) else self.cell
    zeros, outputs = input.new_zeros(input.size(0), 4), []
    state = (zeros, zeros) if isinstance(cell, TWO_STATES) else zeros
    for step in range(input.size(1)):
        state = cell(input[:, step], state)
        outputs.append(state[0] if isinstance(cell, TWO_STATES) else state)
    return torch.stack(outputs, 1), *(state if isinstance(cell, TWO_STATES) else (state,))


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm", "normalised"])
def test_the_code_that_the_refusal_of_a_loop_shows(plain, cell):
    torch.manual_seed(9)
    own = cell == "normalised"
    members = {"cell": CELLS[cell](3, 4) if own else nn.ModuleList([CELLS[cell](3, 4)]), "hidden_size": 4}
    module = of(looped, **members)
    with pytest.raises(UnsupportedModule, match=r'"sequence".*becomes a scan') as refusal:
        plain(module, sizes=())

    names = {}
    exec(str(refusal.value).partition("\n\n")[2], names)
    rewritten = of(names["forward"], **members)
    input = torch.randn(5, 9, 3)
    for expected, found in zip(module(input), rewritten(input), strict=True):
        assert torch.equal(expected, found)
    assert plain(rewritten).operators.count("Scan") == 1
