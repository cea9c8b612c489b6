"""Whether an answer's bits depend on the other requests in its batch is found out when a model is loaded."""

import numpy as np

from rnnserve.server.repository.invariance import is_batch_invariant


def test_each_of_them_says_so_of_itself(models):
    assert {model.name: model.batch_invariant for model in models} == {model.name: True for model in models}


def test_a_model_that_is_not_is_found_out(models):
    """Planted: a result that depends, by one unit in the last place, on how many requests there are."""

    def run(requests):
        answers = models[0].run(requests)
        if len(requests) > 1:
            answers[0]["h_n"] = np.nextafter(answers[0]["h_n"], 2)
        return answers

    assert not is_batch_invariant(run, models[0].signature)
