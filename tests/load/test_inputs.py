import io
import re

import numpy as np
import pytest

from rnnserve.client import InvalidRequest, ModelMetadata, TensorMetadata
from rnnserve.load.draws import EvenSizes, parse_size_distribution
from rnnserve.load.inputs import draw_inputs, read_samples
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
    return [({name: array.tolist() for name, array in case.inputs.items()}, {*case.outputs}) for case in cases]


def test_arrays_are_one_case_or_several_named_cases():
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


def test_golden_results_of_a_version_can_be_sent_as_cases():
    cases = [Case("random", {"tokens": TOKENS + n}, {"scores": SCORES}, {"scores": SCORES + 1.0}) for n in range(2)]
    found = read_samples(dump_cases(cases), "golden.npz", MODEL)
    assert lists(found) == [({"tokens": [[1, 2]]}, {"scores"}), ({"tokens": [[2, 3]]}, {"scores"})]
    assert found[0].outputs["scores"].tolist() == SCORES.tolist(), "eager's, not those of float64"


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"output:tokens": TOKENS}, "contains 'output:tokens', but the tensors"),
        ({"ids": TOKENS}, "s.npz contains 'ids', but the tensors of model m are tokens, scores"),
        ({"tokens": TOKENS[0]}, "s.npz, tokens has shape (2,); expected (batch, sequence)"),
        ({"tokens": TOKENS[:0]}, "s.npz, tokens has shape (0, 2)"),
        ({"tokens": np.array([["a"]])}, "s.npz, tokens has dtype <U1"),
        ({"scores": SCORES}, "s.npz contains outputs but no inputs"),
        ({"a/scores": SCORES}, "contains outputs but no inputs in case a"),
        ({}, "s.npz contains no arrays"),
    ],
)
def test_file_that_does_not_fit_the_model_is_refused(arrays, complaint):
    with pytest.raises(InvalidRequest, match=re.escape(complaint)):
        read_samples(npz(**arrays), "s.npz", MODEL)


def model(*inputs, batching="padded", states=()):
    outputs = {f"{name}_n": TensorMetadata(f"{name}_n", "FP32", (-1, 2), continues_as=name) for name in states}
    return ModelMetadata(
        "m", ("1",), "", {tensor.name: tensor for tensor in inputs}, outputs, properties={"batching": batching}
    )


def draw(metadata, batch=50, length="2:9"):
    return draw_inputs(metadata, batch, EvenSizes(parse_size_distribution(length)), np.random.default_rng(7))


TOKEN_IDS = TensorMetadata("tokens", "INT32", (-1, -1), ("batch", "sequence"), low=3, high=6)
LENGTHS = TensorMetadata("lengths", "INT64", (-1,), ("batch",), optional=True, lengths_of="sequence")


def test_integers_stay_within_their_bounds_and_reach_them():
    tokens = np.concatenate(draw(model(TOKEN_IDS, LENGTHS))["tokens"])
    assert tokens.dtype == np.int32
    assert set(tokens.tolist()) == {3, 4, 5}


def test_floats_are_normal_or_within_their_bounds():
    normal = TensorMetadata("a", "FP32", (-1, 40), ("batch", "features"))
    bounded = TensorMetadata("b", "FP64", (-1, 40), ("batch", "features"), low=-5.0, high=-4.5)
    drawn = {name: np.concatenate(rows) for name, rows in draw(model(normal, bounded)).items()}
    assert abs(drawn["a"].mean()) < 0.1 < 0.9 < drawn["a"].std() < 1.1
    assert -5 <= drawn["b"].min() < -4.9 < -4.6 < drawn["b"].max() <= -4.5
    assert [drawn[name].dtype.name for name in "ab"] == ["float32", "float64"]


def test_rows_have_different_lengths_only_if_they_may_be_padded():
    for batching in ("padded", "joined", "alone"):
        lengths = {len(row) for row in draw(model(TOKEN_IDS, LENGTHS, batching=batching))["tokens"]}
        assert (len(lengths) > 1) is (batching == "padded")
        assert lengths <= set(range(2, 10))


def test_states_lengths_and_optional_inputs_are_omitted():
    state = TensorMetadata("h", "FP32", (-1, 2), ("batch", "hidden"))
    weights = TensorMetadata("weights", "FP32", (-1, -1), ("batch", "sequence"), optional=True)
    assert list(draw(model(TOKEN_IDS, LENGTHS, state, weights, states=["h"]))) == ["tokens"]


def test_input_that_the_server_does_not_describe_is_refused():
    for shape in ((-1, -1, -1), (-1, -1, 0), (1, 2)):
        with pytest.raises(InvalidRequest, match=re.escape(f"cannot draw rows for input a {shape} of model m")):
            draw(model(TensorMetadata("a", "FP32", shape)))
