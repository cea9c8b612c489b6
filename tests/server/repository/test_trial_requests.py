"""Trial requests use the sizes and values of the golden cases. Golden cases that no request could match are refused."""

import dataclasses

import numpy as np
import pytest

from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.golden import Case
from rnnserve.server.repository.trial_requests import TrialRequests
from rnnserve.server.validation.signature import Signature, TensorSpec

SIGNATURE = Signature(
    {
        "tokens": TensorSpec("tokens", "INT64", ("batch", "sequence"), (-1, -1)),
        "weights": TensorSpec("weights", "FP32", ("batch",), (-1,), low=2.0, high=3.0),
        "ids": TensorSpec("ids", "UINT8", ("batch",), (-1,), low=5, high=7),
        "ends": TensorSpec("ends", "INT32", ("batch",), (-1,), optional=True, lengths_of="sequence"),
    },
    {"logits": TensorSpec("logits", "FP32", ("batch",), (-1,))},
)


def case(steps: int, token: int = 0, **more) -> Case:
    inputs = {
        "tokens": np.full((2, steps), token),
        "weights": np.ones(2, np.float32),
        "ids": np.ones(2, np.uint8),
        "ends": np.array([steps - 1, steps], np.int32),
    }
    return Case("step", {**inputs, **more}, {}, {})


def test_trial_sizes_and_values_come_from_the_golden_cases():
    trials = TrialRequests(SIGNATURE, [case(4, 11), case(9, 77)])
    assert [trials.sizes(steps)["sequence"] for steps in (1, 4, 6, 9, 64)] == [4, 4, 6, 9, 9]
    assert trials.shortest == {"ends": 3}
    request = trials.draw(200, {"sequence": 9}, lengths="drawn")
    assert (request.batch, request.sizes) == (200, {"sequence": 9})
    assert set(request.inputs["tokens"].ravel().tolist()) == {11, 77}
    assert set(request.inputs["ids"].tolist()) == {5, 6}
    assert set(request.inputs["ends"].tolist()) == set(range(3, 10))
    assert 2 <= request.inputs["weights"].min() < request.inputs["weights"].max() <= 3
    for name, array in request.inputs.items():
        assert array.dtype == SIGNATURE.inputs[name].dtype
    assert "ends" not in trials.draw(2, {"sequence": 4}).inputs
    assert trials.draw(2, {"sequence": 6}, lengths=1).longest == {"sequence": 3}


@pytest.mark.parametrize(
    ("most", "compared", "tried"), [(None, 0, [1, 1]), (None, 128, [33, 64]), (None, 40, [33, 40]), (20, 128, [20, 20])]
)
def test_trials_use_verified_lengths_when_golden_cases_are_short(most, compared, tried):
    limits = {} if most is None else {"sequence": (1, most)}
    tokens = dataclasses.replace(SIGNATURE.inputs["tokens"], limits=limits)
    signature = Signature({**SIGNATURE.inputs, "tokens": tokens}, SIGNATURE.outputs)
    short = case(1, ends=np.ones(2, np.int32))
    for trials in (first := TrialRequests(signature, [short], compared_steps=compared), first.of(signature)):
        assert [trials.sizes(steps)["sequence"] for steps in (33, 64)] == tried
        assert trials.sizes(1) == {"sequence": 1}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tokens": np.zeros((2, 4), np.int32)}, 'input "tokens" is int32; expected "tokens" INT64'),
        ({"tokens": np.zeros((2, 4, 1), np.int64)}, "has 3 axes, expected 2 axes"),
        ({"weights": np.ones(3, np.float32)}, r'input "weights" has shape \[3\]; expected \[2\]'),
        ({"weights": np.ones(0, np.float32)}, r"axis 0 \(batch\) is 0, but must be 1 or more"),
        ({"ends": np.array([0, 4], np.int32)}, "is 0 for row 0"),
        ({"ends": np.array([4, 5], np.int32)}, "is 5 for row 1"),
        ({"other": np.ones(2)}, "has the inputs tokens, weights, ids, ends, other, but the model takes"),
    ],
)
def test_golden_cases_that_no_request_could_match_are_refused(more, said):
    with pytest.raises(ArtifactError, match=rf"^golden\.npz: case 1.* {said}"):
        TrialRequests(SIGNATURE, [case(4), case(4, **more)])
