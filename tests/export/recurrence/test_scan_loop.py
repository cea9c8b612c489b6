"""The arguments of a scan, and what a step gives: exact refusals."""

import pytest
import torch

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.scan_loop import ScanLoop

X = torch.zeros(2, 5, 3)
H = torch.zeros(2, 4)


@pytest.mark.parametrize(
    ("dim", "axis", "steps"), [(0, 0, 2), (1, 1, 5), (2, 2, 3), (-1, 2, 3), (-2, 1, 5), (-3, 0, 2)]
)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_axis_of_the_steps(dim, axis, steps, reverse):
    assert ScanLoop.of([H], [X, X], dim, reverse) == ScanLoop(axis, reverse, steps)


@pytest.mark.parametrize(
    ("states", "sequences", "dim", "message"),
    [
        (
            [None],
            [X],
            1,
            "scan got init with NoneType; expected tensors only. A state that is None before the first step ",
        ),
        ([H, 3, None], [X], 1, "scan got init with int, NoneType; expected tensors only. "),
        ([], [X], 1, "scan got init with no tensor; expected tensors only. "),
        ([H], ["x"], 1, "scan got xs with str; expected tensors only. "),
        ([H], [], 1, "scan got xs with no tensor; expected tensors only. "),
        ([H], [X], 3, "scan got dim=3 for xs of shapes [(2, 5, 3)]; all need that axis"),
        ([H], [X], -4, "scan got dim=-4 for xs of shapes [(2, 5, 3)]; all need that axis"),
        ([H], [X, H], 2, "scan got dim=2 for xs of shapes [(2, 5, 3), (2, 4)]; all need that axis"),
        ([H], [X, X[:, :4]], 1, "scan got xs of [5, 4] steps along axis 1; all need the same number"),
        ([H], [X[:, :0]], 1, "scan got a sequence without a step"),
    ],
)
def test_arguments_that_do_not_fit(states, sequences, dim, message):
    with pytest.raises(UnsupportedModule) as refused:
        ScanLoop.of(states, sequences, dim, reverse=False)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (5, "a step of scan gives the state int; expected a tensor"),
        (
            H[:, :3],
            "a step of scan changes the state from (2, 4), torch.float32, to (2, 3), torch.float32. Give the state",
        ),
        (
            H.double(),
            "a step of scan changes the state from (2, 4), torch.float32, to (2, 4), torch.float64. Give the ",
        ),
    ],
)
def test_a_step_that_changes_its_state(after, message):
    loop = ScanLoop(1, reverse=False, steps=5)
    loop.check_states([H, H], [H, H + 1])
    with pytest.raises(UnsupportedModule) as refused:
        loop.check_states([H, H], [H, after])
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("output", "got"), [(torch.zeros(2), "(2,)"), (torch.zeros(()), "()"), (None, "NoneType"), ((H,), "tuple")]
)
def test_outputs_that_cannot_be_stacked(output, got):
    loop = ScanLoop(2, reverse=False, steps=5)
    loop.check_outputs([H, X])
    with pytest.raises(UnsupportedModule) as refused:
        loop.check_outputs([H, output])
    assert str(refused.value) == (
        f"a step of scan gives the output {got}; expected a tensor of 2 axes or more, to be stacked along axis 2. "
        "combine_fn returns the pair (state after the step, output of the step)."
    )
