"""Code that depends on the values of tensors: branches, checks and distributions."""

import functools

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal
from torch.nn.utils.rnn import pack_padded_sequence

from kit.corpus.rows import LENGTHS, Family, Members, X

RAGGED = X, LENGTHS
VALUES = Family("values")
right, core, refused = VALUES.right, VALUES.core, VALUES.refused


class Changing(nn.Module):
    """Does something else than to set variables if a condition on values holds."""

    def __init__(self, way):
        super().__init__()
        self.way, self.kept = way, None

    def forward(self, x):
        y, outputs = x * 2, [x]
        if self.way == "a list" and x.sum() > 0:
            outputs.append(y)
        elif self.way == "an attribute" and x.sum() > 0:
            self.kept = y
        elif self.way == "in place" and x.sum() > 0:
            y.mul_(2)
        while self.way == "a loop" and y.sum() > 1:
            y = y / 2
        return y, outputs[-1]


for way in ("a list", "an attribute", "in place", "a loop"):
    make, said = functools.partial(Changing, way), "depends on the values"
    VALUES.add(f"a branch on values: {way}", make, refused=said, is_core=way == "a list")


def refuse_empty(lengths: Tensor) -> None:
    if int(lengths.min()) < 1:
        raise ValueError("a row has no steps")


@core(arguments=RAGGED, together=1, told=r"skips the check of values at values\.py:\d+")
class Checking(Members):
    """Checks its lengths in the ways that packages do."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        assert lengths.min() > 0, "rows have a step at least"
        assert lengths.dim() == 1
        torch._assert((lengths > 0).all(), "rows have a step at least")
        refuse_empty(lengths)
        if lengths.max().item() > x.size(1):
            raise ValueError("too long")
        return self.gru(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][0]


@right(arguments=RAGGED, told=r"skips the check of values at values\.py:\d+", together=1)
class CheckingInALoop(Members):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 4)
        for t in range(x.size(1)):
            assert not torch.isnan(h).any()
            h = torch.where((t < lengths).unsqueeze(1), self.cell(x[:, t], h), h)
        return h


class Negative(Members):
    """Its layer's states are all negative."""

    def __init__(self):
        super().__init__()
        for name, parameter in self.gru.named_parameters():
            parameter.data.fill_(-1 if "bias" in name else 0)


CHECKS = Family("checks of values", Negative)


@CHECKS.right(told=r"skips the check of values at values\.py:\d+")
def with_an_else(self, x):
    y = self.gru(x)[0]
    if y.sum() > 0:
        raise ValueError
    else:  # noqa: RET506 - a branch all the same
        y = y * 2
    return y


@CHECKS.refused(r"depends on the values of a tensor \(at .*\), 'if y.sum\(\) > 0:'")
def with_work_before_it_raises(self, x):
    y = self.gru(x)[0]
    if y.sum() > 0:
        y = y * 2
        raise ValueError
    return y


class Policy(Members):
    """Makes distributions of its results."""

    validates: bool | None = None

    def forward(self, x):
        y = self.gru(x)[0]
        choice = Categorical(logits=y, validate_args=self.validates)
        action = Independent(Normal(y, y.exp()), 1)
        return choice.probs, choice.entropy(), action.mean, action.log_prob(y * 2)


@right(told=r"skips the check of values at values\.py:\d+", is_scaled=False)
class ValidatingPolicy(Policy):
    validates = True


@refused(r"depends on the values of a tensor.*, 'return self\.gru\(x\)\[0\] \* float\(", is_core=True)
class OfAnArray(Policy):
    def forward(self, x):
        return self.gru(x)[0] * float(x.sum().numpy())


@refused(r"\[i, :length\].*cuts each row at its length.*compute all steps.*x\.gather\(1, at\.", arguments=RAGGED)
class Reverses(Members):
    def forward(self, x, lengths):
        turned = torch.zeros_like(x)
        for i, length in enumerate(lengths):
            turned[i, :length] = x[i, :length].flip(0)
        return self.gru(turned)[0]


@right(arguments=RAGGED)
class Gathers(Members):
    """`Reverses`, as its refusal says."""

    def forward(self, x, lengths):
        steps = torch.arange(x.size(1))
        inside = steps < lengths.unsqueeze(1)
        at = torch.where(inside, lengths.unsqueeze(1) - 1 - steps, steps)
        turned = x.gather(1, at.unsqueeze(2).expand_as(x))
        return self.gru(turned * inside.unsqueeze(2))[0]
