"""What is around a capture: attributes of the module as before, and names of the forward's parameters."""

import pytest
import torch
from torch import nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.recurrence.capture import capture, frozen, parameters_of, prepared
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.fixed_sizes import SizeIsFixed
from rnnserve.export.recurrence.refusals import FixedSize


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.count, self.gone, self.kept = 1, "here", [1]

    def forward(self, x, *rest, scale=1.0, **more):  # noqa: ARG002 - only named
        return x


@pytest.mark.parametrize("error", [None, ValueError("of the module's own")])
def test_attributes_that_a_forward_writes_are_restored(error):
    module = Module()
    kept = module.kept
    before = [dict(each.__dict__) for each in module.modules()]
    try:
        with prepared(module):
            module.count, module.more, module.layer.more = 2, 3, 4  # type: ignore[assignment]
            del module.gone
            if error is not None:
                raise error
    except ValueError as raised:
        assert raised is error  # noqa: PT017 - where there is one
    assert (module.count, module.gone) == (1, "here")
    assert module.kept is kept
    assert not hasattr(module, "more")
    assert not hasattr(module.layer, "more")
    assert [dict(each.__dict__) for each in module.modules()] == before


def test_parameters_require_no_gradient_within_and_what_they_did_after():
    module = Module()
    module.layer.bias.requires_grad_(False)
    with frozen(module):
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert module.layer.weight.requires_grad
    assert not module.layer.bias.requires_grad


@pytest.mark.parametrize(("count", "names"), [(1, ["x"]), (3, ["x", "*rest", "*rest"])])
def test_parameters_are_named(count, names):
    assert parameters_of(Module(), (torch.zeros(1),) * count) == names


def test_a_forward_that_takes_no_such_arguments():
    with pytest.raises(WrongArguments) as refused:
        parameters_of(Module(), ())
    assert str(refused.value) == (
        "the module's forward(x, *rest, scale=1.0, **more) cannot be called with 0 arguments: missing a required "
        "argument: 'x'"
    )


class Fixing(nn.Module):
    """Fixes the size of an axis, goes on after any error, and says that it has come to its end."""

    def __init__(self, axis, number_of):
        super().__init__()
        self.axis, self.number_of = axis, number_of

    def forward(self, x):
        number = 0
        try:
            for _ in range(self.number_of(x.size(self.axis))):
                number += 1
        except Exception:  # noqa: BLE001 - as some code is
            pass
        print("ended")
        return x * number


@pytest.mark.parametrize(
    ("axis", "number_of", "error", "ended"),
    [(1, lambda n: n, SizeIsFixed, 0), (0, lambda n: n, FixedSize, 2), (1, int, FixedSize, 1)],
)
def test_it_may_end_where_a_size_is_fixed_but_for_the_batch_and_plain_numbers(axis, number_of, error, ended, capsys):
    module, args = Fixing(axis, number_of).eval(), (torch.randn(3, 4),)
    axes = DynamicAxes.of(["x"], args, ({0: "batch", 1: "sequence"},), ["x"])
    with pytest.raises(error):
        capture(module, args, axes, ends_early=True)
    assert capsys.readouterr().out.split() == ["ended"] * ended
    with pytest.raises(FixedSize):
        capture(module, args, axes)
    assert "ended" in capsys.readouterr().out
