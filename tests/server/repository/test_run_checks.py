"""What trial runs show before a version serves: whether sequences can be cut, and whether bits depend on the batch."""

import dataclasses

import numpy as np
import pytest

from rnnserve.protos.artifact import GOLDEN, read_version
from rnnserve.protos.golden import Case, load_cases
from rnnserve.server.repository.run_checks import is_batch_invariant, try_parts
from rnnserve.server.repository.trial_requests import TrialRequests
from rnnserve.server.validation.signature import Batching, Signature, TensorSpec


def test_only_forward_recurrence_can_be_cut(models):
    reasons = {model.name: model.why_not_in_parts for model in models}
    assert {name for name, reason in reasons.items() if not reason} == {"rnn", "rnn_relu", "gru"}
    for name in ("rnn_stacked_bidirectional", "lstm"):
        assert "cutting a sequence changes its output" in reasons[name]
        assert "in one trial" in reasons[name]


@pytest.fixture
def tried(models, tmp_path_factory):
    """`tried(run)`: what is said of the GRU with a run of one's own."""
    model = next(model for model in models if model.name == "gru")
    folder = next(tmp_path_factory.getbasetemp().glob("cells*/repository/gru/1"))
    cases = load_cases(read_version(folder, keep=(GOLDEN,)).files[GOLDEN])
    return lambda run: try_parts(run, model.signature, TrialRequests(model.signature, cases)).reason


@pytest.mark.parametrize("name", ["logits", "output", "h_n"])
def test_difference_in_the_last_bit_is_detected(tried, models, name):
    model = next(model for model in models if model.name == "gru")

    def run(requests):
        answers = model.run(requests)
        if max(request.steps for request in requests) > 1:
            for answer in answers:
                answer[name] = np.nextafter(answer[name], np.float32(np.inf))
        return answers

    assert f'changes its output "{name}"' in tried(run)


def continues(run, signature, trials):
    return try_parts(run, signature, trials).continues


class Sizes(TrialRequests):
    """Draws requests of a model without golden cases."""

    def __init__(self, signature, low=1, high=64):
        self._signature = signature
        self._numbers = np.random.default_rng(0)
        self._range = dict.fromkeys(signature.sequence_axes, (low, high))
        self.shortest = {}
        self._values = {}


X = TensorSpec("x", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
H_0 = TensorSpec("h_0", "FP32", ("batch", "features"), (-1, 2), optional=True)
H_N = TensorSpec("h_n", "FP32", ("batch", "features"), (-1, 2), continues_as="h_0")
OUTPUT = TensorSpec("output", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
SUMS = Signature({"x": X, "h_0": H_0}, {"output": OUTPUT, "h_n": H_N})


def forward(x, h_0):
    output = np.cumsum(x, 1) + h_0[:, None]
    return {"output": output, "h_n": output[:, -1]}


def backward(x, h_0):
    output = np.cumsum(x[:, ::-1], 1)[:, ::-1] + h_0[:, None]
    return {"output": output, "h_n": output[:, 0]}


def centred(x, h_0):
    """The states continue, but the output needs all steps."""
    output, h_n = forward(x, h_0).values()
    return {"output": output - x.mean(1, keepdims=True), "h_n": h_n}


def stateless(x, h_0):
    return forward(x, 0 * h_0)


def running(compute, signature=SUMS):
    def run(requests):
        return [
            {name: array.astype(signature.outputs[name].dtype) for name, array in compute(**request.inputs).items()}
            for request in requests
        ]

    return run


@pytest.mark.parametrize(
    ("compute", "found"), [(forward, True), (backward, False), (centred, False), (stateless, False)]
)
def test_continuation_is_detected_by_splitting_in_two(compute, found):
    assert continues(running(compute), SUMS, Sizes(SUMS)) is found


@pytest.mark.parametrize(
    ("low", "high", "found"), [(1, 1, False), (1, 2, True), (5, 64, True), (5, 9, False), (5, 10, True)]
)
def test_trial_parts_respect_the_models_limits(low, high, found):
    def compute(x, h_0):
        assert low <= x.shape[1] <= high
        return forward(x, h_0)

    assert continues(running(compute), SUMS, Sizes(SUMS, low, high)) is found


def test_states_of_another_shape_or_type_are_not_continued():
    wider = dataclasses.replace(H_0, sizes=(-1, 3))
    for inputs, outputs in (
        ({"x": X, "h_0": wider}, SUMS.outputs),
        ({"x": X, "h_0": dataclasses.replace(H_0, datatype="FP16")}, SUMS.outputs),
        ({"x": X, "h_0": dataclasses.replace(X, name="h_0")}, {"h_n": dataclasses.replace(OUTPUT, continues_as="h_0")}),
    ):
        signature = Signature(inputs, outputs)
        assert not continues(running(forward), signature, Sizes(signature))


def trials_of(model) -> TrialRequests:
    """Trials of a model with inputs `input`, `lengths` and `h_0`, of sizes 1 to 40."""
    state = model.signature.inputs["h_0"].shape(2, {})
    cases = [
        Case(
            "step",
            {
                "input": np.zeros((2, steps, 2), np.float32),
                "lengths": np.full(2, steps),
                "h_0": np.zeros(state, np.float32),
            },
            {},
            {},
        )
        for steps in (1, 40)
    ]
    return TrialRequests(model.signature, cases)


def test_batch_dependence_is_detected(models):
    """Planted: a result that depends, by one unit in the last place, on how many requests there are."""

    def run(requests):
        answers = models[0].run(requests)
        if len(requests) > 1:
            answers[0]["h_n"] = np.nextafter(answers[0]["h_n"], 2)
        return answers

    trials = trials_of(models[0])
    for batching, found in ((Batching.PADDED, False), (Batching.JOINED, False), (Batching.ALONE, True)):
        signature = dataclasses.replace(models[0].signature, batching=batching)
        assert is_batch_invariant(run, signature, trials) is found


def test_padding_dependence_is_detected(models):
    """Planted: logits that depend, by one unit in the last place, on whether every row of a run alone is padded."""

    def run(requests):
        answers = models[0].run(requests)
        ends = [request.inputs["lengths"].max() for request in requests if "lengths" in request.inputs]
        if len(requests) == 1 and ends and max(ends) < requests[0].steps:
            answers[0]["logits"] = np.nextafter(answers[0]["logits"], 99)
        return answers

    assert is_batch_invariant(models[0].run, models[0].signature, trials_of(models[0]))
    assert not is_batch_invariant(run, models[0].signature, trials_of(models[0]))
