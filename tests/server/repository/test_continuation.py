"""Whether sequences may be cut into requests: found out by cutting them, before a version serves."""

import dataclasses

import numpy as np
import pytest

from rnnserve.protos.artifact import GOLDEN, read_version
from rnnserve.protos.golden import load_cases
from rnnserve.server.repository.continuation import why_not_in_parts
from rnnserve.server.repository.loading import load_model
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
        return why_not_in_parts(run, signature, TrialRequests(model.signature, cases))

    return try_it


def with_input(signature, name, **changes):
    spec = dataclasses.replace(signature.inputs[name], **changes)
    return dataclasses.replace(signature, inputs={**signature.inputs, name: spec})


def test_what_a_signature_tells(tried):
    assert tried() == ""
    assert "may not be left out" in tried(lambda signature: with_input(signature, "h_0", optional=False))
    grows = {"axes": ("layers * directions", "batch", "sequence"), "sizes": (2, -1, -1)}
    assert "grows with the sequence" in tried(lambda signature: with_input(signature, "h_0", **grows))
    two = {"axes": ("batch", "sequence", "other"), "sizes": (-1, -1, -1)}
    assert "more than one sequence axis: sequence, other" in tried(
        lambda signature: with_input(signature, "input", **two)
    )


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
