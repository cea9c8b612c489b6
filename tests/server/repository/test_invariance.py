"""Whether an answer's bits depend on the other requests in its batch is found out when a model is loaded."""

import dataclasses

import numpy as np

from rnnserve.protos.golden import Case
from rnnserve.server.repository.invariance import is_batch_invariant
from rnnserve.server.repository.trial_requests import TrialRequests
from rnnserve.server.validation.signature import Batching


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


def test_a_model_that_is_not_is_found_out(models):
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


def test_a_model_whose_amount_of_padding_matters_is_found_out(models):
    """Planted: logits that depend, by one unit in the last place, on whether every row of a run alone is padded."""

    def run(requests):
        answers = models[0].run(requests)
        ends = [request.inputs["lengths"].max() for request in requests if "lengths" in request.inputs]
        if len(requests) == 1 and ends and max(ends) < requests[0].steps:
            answers[0]["logits"] = np.nextafter(answers[0]["logits"], 99)
        return answers

    assert is_batch_invariant(models[0].run, models[0].signature, trials_of(models[0]))
    assert not is_batch_invariant(run, models[0].signature, trials_of(models[0]))
