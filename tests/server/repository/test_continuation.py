"""Whether sequences may be cut into requests: found out by cutting them, before a version serves."""

import dataclasses

import numpy as np
import pytest
import torch

from rnnserve.export import Floats, Integers, publish
from rnnserve.export.found_states.parts_record import parts_failures
from rnnserve.export.verify import verify_version
from rnnserve.protos.artifact import GOLDEN, read_version
from rnnserve.protos.golden import load_cases
from rnnserve.server.boundary.signature import Signature, TensorSpec
from rnnserve.server.repository.continuation import try_parts
from rnnserve.server.repository.load_version import load_model
from rnnserve.server.repository.trial_requests import TrialRequests


def test_recurrence_that_reads_forwards_may_be_cut_and_other_may_not(models):
    reasons = {model.name: model.why_not_in_parts for model in models}
    assert {name for name, reason in reasons.items() if not reason} == {"rnn", "rnn_relu", "gru"}
    for name in ("rnn_stacked_bidirectional", "lstm"):
        assert "cutting a sequence changes its output" in reasons[name]
        assert "in one trial" in reasons[name]


@pytest.mark.parametrize(("name", "reason"), [("step", ""), ("tagger", "no output is declared as the state")])
def test_models_of_other_tensors(zoo, name, reason):
    assert load_model(zoo / name / "1", name, "1", "cpu").why_not_in_parts.startswith(reason)
    assert bool(reason) == bool(load_model(zoo / name / "1", name, "1", "cpu").why_not_in_parts)


@pytest.fixture
def tried(models, tmp_path_factory):
    """`tried(change)`: what is said of the GRU with a changed signature, or a run of one's own."""
    model = next(model for model in models if model.name == "gru")
    folder = next(tmp_path_factory.getbasetemp().glob("cells*/gru/1"))
    cases = load_cases(read_version(folder, keep=(GOLDEN,)).files[GOLDEN])

    def try_it(change=lambda signature: signature, run=model.run):
        signature = change(model.signature)
        return try_parts(run, signature, TrialRequests(model.signature, cases)).reason

    return try_it


def with_input(signature, name, **changes):
    spec = dataclasses.replace(signature.inputs[name], **changes)
    return dataclasses.replace(signature, inputs={**signature.inputs, name: spec})


def test_what_a_signature_tells(tried):
    assert tried() == ""
    wide = {"sizes": (2, -1, 13)}
    assert "does not fit the input" in tried(lambda signature: with_input(signature, "h_0", **wide))
    two = {"axes": ("batch", "sequence", "other"), "sizes": (-1, -1, -1)}
    assert "more than one sequence axis: sequence, other" in tried(
        lambda signature: with_input(signature, "input", **two)
    )


@pytest.mark.parametrize(("limits", "runs"), [((1, 1), False), ((5, 9), False), ((5, 10), True), ((1, 2), True)])
def test_a_request_is_a_part_where_no_sequence_is_long_enough_to_be_cut(models, tried, limits, runs):
    """A step of a policy, sizes={"time": (1, 1)}: what it continues from is declared, and there is no whole."""
    model, ran = next(model for model in models if model.name == "gru"), []

    def run(requests):
        ran.append(requests)
        return model.run(requests)

    change = {"limits": {"sequence": limits}}
    assert tried(lambda signature: with_input(signature, "input", **change), run=run) == ""
    assert bool(ran) == runs


@pytest.mark.parametrize("name", ["logits", "output", "h_n"])
def test_a_difference_in_the_last_bit_is_found(tried, models, name):
    model = next(model for model in models if model.name == "gru")

    def run(requests):
        answers = model.run(requests)
        if max(request.steps for request in requests) > 1:
            for answer in answers:
                answer[name] = np.nextafter(answer[name], np.float32(np.inf))
        return answers

    assert f'changes its output "{name}"' in tried(run=run)


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
def test_a_sequence_is_cut_in_two(compute, found):
    assert continues(running(compute), SUMS, Sizes(SUMS)) is found


@pytest.mark.parametrize(
    ("low", "high", "found"), [(1, 1, False), (1, 2, True), (5, 64, True), (5, 9, False), (5, 10, True)]
)
def test_parts_have_sizes_that_the_model_takes(low, high, found):
    def compute(x, h_0):
        assert low <= x.shape[1] <= high
        return forward(x, h_0)

    assert continues(running(compute), SUMS, Sizes(SUMS, low, high)) is found


def test_half_precision_is_near_enough():
    halves = Signature(
        {name: dataclasses.replace(spec, datatype="FP16") for name, spec in SUMS.inputs.items()},
        {name: dataclasses.replace(spec, datatype="FP16") for name, spec in SUMS.outputs.items()},
    )
    parts = try_parts(running(forward, halves), halves, Sizes(halves))
    assert parts.continues
    assert "in its last bits" in parts.reason  # sums in another order
    assert not continues(running(backward, halves), halves, Sizes(halves))


def test_integers_that_are_no_states_may_turn_by_rounding():
    signature = Signature(SUMS.inputs, {**SUMS.outputs, "tag": TensorSpec("tag", "INT64", ("batch",), (-1,))})

    def compute(x, h_0):
        return {**forward(x, h_0), "tag": np.full(len(x), x.shape[1])}

    assert continues(running(compute, signature), signature, Sizes(signature))


def test_without_states_there_is_nothing_to_continue():
    signature = Signature({"x": X}, {"output": OUTPUT})
    assert not continues(running(forward), signature, Sizes(signature))


def test_states_that_do_not_fit_are_not_continued():
    of_others = dataclasses.replace(H_N, continues_as="h")
    wider = dataclasses.replace(H_0, sizes=(-1, 3))
    for inputs, outputs in (
        (SUMS.inputs, {"output": OUTPUT, "h_n": of_others}),
        ({"x": X, "h_0": wider}, SUMS.outputs),
        ({"x": X, "h_0": dataclasses.replace(H_0, datatype="FP16")}, SUMS.outputs),
        ({"x": X, "h_0": dataclasses.replace(X, name="h_0")}, {"h_n": dataclasses.replace(OUTPUT, continues_as="h_0")}),
    ):
        signature = Signature(inputs, outputs)
        assert not continues(running(forward), signature, Sizes(signature))


def test_single_steps_are_continued_and_two_sequence_axes_are_not():
    step = Signature({"x": dataclasses.replace(H_0, name="x", optional=False), "h_0": H_0}, {"h_n": H_N})
    assert continues(running(forward), step, Sizes(step))
    target = TensorSpec("y", "FP32", ("batch", "target"), (-1, -1))
    both = Signature({**SUMS.inputs, "y": target}, SUMS.outputs)
    assert not continues(running(forward), both, Sizes(both))


def test_all_but_the_bidirectional_cells_are_continued(models):
    found = {model.name: model.continues for model in models}
    assert found == {model.name: "bidirectional" not in model.name and model.name != "lstm" for model in models}


class Counting(torch.nn.Module):
    """A GRU's output (batch, sequence, 2) as far as the first 600 steps, of a request or of the sequence."""

    def __init__(self, *, of_the_sequence):
        super().__init__()
        self.gru = torch.nn.GRU(2, 2, batch_first=True)
        self.of_the_sequence = of_the_sequence

    def forward(self, x, h_0, position):
        y, h_n = self.gru(x, h_0)
        steps = torch.arange(x.size(1))[None]
        counted = position[:, None] + steps if self.of_the_sequence else steps
        return y * (counted < 600)[:, :, None], h_n, position + x.size(1)


@pytest.mark.parametrize("of_the_sequence", [True, False])
def test_what_counts_the_steps_of_a_request_takes_no_sequences_in_parts(tmp_path, of_the_sequence):
    """No sequence of a trial has 600 steps: the graph tells it, and the manifest."""
    inputs = {
        "x": Floats("batch", "sequence", 2),
        "h_0": Floats(1, "batch", ("hidden", 2)),
        "position": Integers("batch", high=4000),
    }
    publish(
        Counting(of_the_sequence=of_the_sequence).eval(),
        "counting",
        repository=tmp_path,
        inputs=inputs,
        outputs=["y", "h_n", "position_n"],
        states={"h_n": "h_0", "position_n": "position"},
        progress=False,
    )
    folder = tmp_path / "counting" / "1"
    model = load_model(folder, "counting", "1", "cpu")
    assert model.continues == of_the_sequence
    if of_the_sequence:
        assert "counts the steps" not in model.why_not_in_parts
        return
    assert model.why_not_in_parts.startswith('Range "')
    assert model.why_not_in_parts == read_version(folder).manifest.parts.not_continued
    assert not any(check.failures for check in verify_version(folder, progress=False))
    version = read_version(folder)
    version.manifest.parts.not_continued = ""
    (said,) = parts_failures(version)
    assert said.endswith(f'but found "{model.why_not_in_parts}"')
