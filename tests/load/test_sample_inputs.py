import io
import re

import numpy as np
import pytest

from rnnserve.client import InvalidRequest, ModelMetadata, TensorMetadata
from rnnserve.load.sample_inputs import read_samples
from rnnserve.protos.golden import Case, dump_cases

MODEL = ModelMetadata(
    "m",
    ("1",),
    "",
    {"tokens": TensorMetadata("tokens", "INT64", (-1, -1), ("batch", "sequence"))},
    {"scores": TensorMetadata("scores", "FP32", (-1, 3), ("batch", "classes"))},
)
TOKENS, SCORES = np.array([[1, 2]]), np.array([[1, 2, 3]], np.float32)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def lists(cases):
    return [({name: array.tolist() for name, array in case.inputs.items()}, {*case.answers}) for case in cases]


def test_arrays_are_one_case_or_cases_by_name():
    for arrays, cases in (
        ({"tokens": TOKENS}, [({"tokens": [[1, 2]]}, set())]),
        ({"tokens": TOKENS, "scores": SCORES}, [({"tokens": [[1, 2]]}, {"scores"})]),
        (
            {"long/tokens": TOKENS, "short/tokens": TOKENS[:, :1], "short/scores": SCORES},
            [({"tokens": [[1, 2]]}, set()), ({"tokens": [[1]]}, {"scores"})],
        ),
        (  # as samples for an import
            {"0/tokens": TOKENS, "0/output:scores": SCORES, "1/tokens": TOKENS},
            [({"tokens": [[1, 2]]}, {"scores"}), ({"tokens": [[1, 2]]}, set())],
        ),
    ):
        assert lists(read_samples(npz(**arrays), "s.npz", MODEL)) == cases


def test_golden_results_of_a_version_are_cases():
    cases = [Case("random", {"tokens": TOKENS + n}, {"scores": SCORES}, {"scores": SCORES + 1.0}) for n in range(2)]
    found = read_samples(dump_cases(cases), "golden.npz", MODEL)
    assert lists(found) == [({"tokens": [[1, 2]]}, {"scores"}), ({"tokens": [[2, 3]]}, {"scores"})]
    assert found[0].answers["scores"].tolist() == SCORES.tolist(), "eager's, not those of float64"


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"output:tokens": TOKENS}, "holds 'output:tokens', but the tensors"),
        ({"ids": TOKENS}, "s.npz: holds 'ids', but the tensors of model m are tokens, scores"),
        ({"tokens": TOKENS[0]}, "s.npz, tokens: has shape (2,). Expected (batch, sequence)"),
        ({"tokens": TOKENS[:0]}, "s.npz, tokens: has shape (0, 2)"),
        ({"tokens": np.array([["a"]])}, "s.npz, tokens has dtype <U1"),
        ({"scores": SCORES}, "s.npz: has answers but no inputs"),
        ({"a/scores": SCORES}, "has answers but no inputs in case a"),
        ({}, "s.npz: holds no arrays"),
    ],
)
def test_file_that_does_not_fit_the_model_is_refused(arrays, complaint):
    with pytest.raises(InvalidRequest, match=re.escape(complaint)):
        read_samples(npz(**arrays), "s.npz", MODEL)
