"""Modules that call `scan`: steps of any kind, and what it refuses of a step."""

import functools
import itertools
from typing import Any

import torch
from torch import nn

from kit.corpus.rows import LENGTHS, Family, X, floats, forward
from rnnserve.export import scan

SCANS = Family("scans")
right, core, refused = SCANS.right, SCANS.core, SCANS.refused


class NormalisedLSTMCell(nn.Module):
    """LSTM with layer normalisation of the gates and of the cell state, written by hand."""

    def __init__(self, features, hidden):
        super().__init__()
        self.input, self.state = nn.Linear(features, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in (4 * hidden, 4 * hidden, hidden))

    def forward(self, x, state):
        h, c = state
        gates = self.norms[0](self.input(x)) + self.norms[1](self.state(h))
        i, f, g, o = gates.chunk(4, dim=1)
        c = self.norms[2](torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
        return torch.sigmoid(o) * torch.tanh(c), c


CELLS: dict[str, Any] = {
    "tanh": nn.RNNCell,
    "relu": lambda inputs, hidden: nn.RNNCell(inputs, hidden, nonlinearity="relu"),
    "gru": nn.GRUCell,
    "lstm": nn.LSTMCell,
    "normalised lstm": NormalisedLSTMCell,
}
# Their state is a pair.
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

    def forward(self, x, lengths):
        inside = torch.arange(x.size(1)) < lengths.unsqueeze(1)  # (batch, sequence)
        input, inside = (x, inside) if self.batch_dim == 0 else (x.transpose(0, 1), inside.transpose(0, 1))
        finals = []
        for first in range(0, len(self.cells), self.directions):
            results = [
                self.direction(cell, input, inside, bool(number))
                for number, cell in enumerate(self.cells[first : first + self.directions])
            ]
            finals.append([final for final, _ in results])
            input = torch.cat([output for _, output in results], dim=2)
        return input, finals


def _add_forms():
    """Add an eighth of the combinations of layers, directions, layout and lengths, different ones of each cell."""
    for number, name in enumerate(CELLS):
        for form in itertools.product((1, 2), (False, True), (False, True), (False, True)):
            parity = number % 2, number // 2 % 2, number // 4
            if (sum(form) % 2, sum(form[::2]) % 2, sum(form[1:3]) % 2) == parity:
                layers, both, first, ragged = form
                SCANS.add(
                    f"{name}, {layers} layers{', both ways' * both}{', batch first' * first}{', ragged' * ragged}",
                    functools.partial(Scanned, CELLS[name], *form),
                    X,
                    LENGTHS,
                    # Normalizing four values divides by a small deviation: eager is itself 1e-4 from float64 then.
                    limit=40.0 if "normalised" in name else 3.0,
                    is_core=form in ((2, True, True, True), (1, False, False, False)),
                )


_add_forms()


@core
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


@core(arguments=(floats("batch", "source", 3), floats("batch", "target", 3)))
class Decoder(nn.Module):
    """Each step reads the output of the step before it, and attends to the encoded source."""

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


@right
def writes_to_what_the_step_has_made(_, input):
    def step(h, x):
        made = h + x
        made[:, 0] = 0.0
        return made.mul_(0.5), made.clone().relu_()

    return scan(step, input[:, 0], input, dim=1)


def stepping(step, init=lambda x: x[:, 0]):
    return lambda _, x: scan(step, init(x), x, dim=1)


def leaks(_, x):
    seen = []

    def step(h, each):
        seen.append(each * 2)
        return h + each, h

    final, outputs = scan(step, x[:, 0], x, dim=1)
    return final + seen[0], outputs


def writes_outside(_, x):
    total = torch.zeros(3)

    def step(h, each):
        total.view(3).add_(each.sum(0))
        return h + total, h

    return scan(step, x[:, 0], x, dim=1)


def takes_turns(self, x):
    weights = itertools.cycle([self.first, self.second])
    return scan(lambda h, each: (h + each * next(weights), h), x[:, 0], x, dim=1)


def branches(h, x):
    outputs = []
    if h.sum() > 0:
        outputs.append(x)
    return h, torch.stack([x, *outputs])


REFUSED: dict[str, Any] = {
    "broadcast state": (
        stepping(lambda h, x: (h + x, h), lambda _: torch.zeros(1, 3)),
        r"changes the state from.*1, 3",
    ),
    "leak": (leaks, r"single scan step outside the step"),
    "a write": (writes_outside, r"writes to a tensor that it did not create"),
    "a write to the state": (stepping(lambda h, x: (h.mul_(0.5) + x, x)), r"writes to a tensor"),
    "tensors that take turns": (takes_turns, r"all steps perform the same computation"),
    "a branch": (stepping(branches), r"depends on the values"),
}


class WithVectors(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.ones(3)), nn.Parameter(-torch.ones(3))


for name, (way, said) in REFUSED.items():
    make = type("Refused", (WithVectors,), {"forward": forward, "way": way})
    SCANS.add(name, make, refused=said, is_located=False, is_core=name in ("leak", "a write", "broadcast state"))
