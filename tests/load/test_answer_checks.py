import numpy as np

from rnnserve.client import ModelMetadata, TensorMetadata
from rnnserve.client.predictions import Prediction
from rnnserve.client.row_inputs import check_rows
from rnnserve.load.answer_checks import AnswerCheck, AnswerChecker
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import datatype_of

INPUTS = {
    "x": TensorMetadata("x", "FP32", (-1, -1), ("batch", "sequence")),
    "lengths": TensorMetadata("lengths", "INT64", (-1,), ("batch",), optional=True, lengths_of="sequence"),
}
OUTPUTS = {
    "y": TensorMetadata("y", "FP32", (-1, -1), ("batch", "sequence")),
    "n": TensorMetadata("n", "INT64", (-1,), ("batch",)),
}
MODEL = ModelMetadata("m", ("1",), "", INPUTS, OUTPUTS)
Y, N = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32), np.array([5, 6])


def answer(y=Y, n=N, *, typed=False):
    response = pb.ModelInferResponse(model_name="m")
    for name, array in (("y", y), ("n", n)):
        output = response.outputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
        if typed:
            field = output.contents.fp32_contents if name == "y" else output.contents.int64_contents
            field.extend(array.ravel().tolist())
        else:
            response.raw_output_contents.append(array.tobytes())
    return response


def checker(*, exact=True, expected=None):
    rows = check_rows(MODEL, [[0, 0], [0]])
    return AnswerChecker({4: AnswerCheck(MODEL, rows, range(2), ["y", "n"], exact, expected)})


def changed(row, column, by):
    y = Y.copy()
    y[row, column] += by
    return y


def test_first_answer_is_the_reference():
    found = checker()
    assert 4 in found
    assert 3 not in found
    assert found.count_wrong(4, answer()) is None
    assert found.count_wrong(4, answer()) == 0
    assert found.count_wrong(4, answer(typed=True)) == 0
    assert found.count_wrong(4, answer(changed(0, 0, 1e-6))) == 1
    assert found.count_wrong(4, answer(n=N + 1)) == 2
    assert found.count_wrong(4, answer()) == 0, "a wrong answer is not the next golden one"


def test_padding_is_not_compared():
    found = checker()
    found.count_wrong(4, answer())
    assert found.count_wrong(4, answer(changed(1, 1, 7))) == 0
    assert found.count_wrong(4, answer(changed(1, 0, 7))) == 1


def test_answers_are_near_when_bits_may_differ():
    found = checker(exact=False)
    found.count_wrong(4, answer())
    assert found.count_wrong(4, answer(changed(0, 0, 1e-4))) == 0
    assert found.count_wrong(4, answer(changed(0, 0, 1e-2))) == 1
    assert found.count_wrong(4, answer(changed(0, 0, np.nan))) == 1
    assert found.count_wrong(4, answer(n=N + 1)) == 2
    large = checker(exact=False)
    large.count_wrong(4, answer(Y * 1000))
    assert large.count_wrong(4, answer(Y * 1000 + 0.5)) == 0, "the tolerance grows with the largest finite value"
    infinite = checker(exact=False)
    infinite.count_wrong(4, answer(changed(0, 1, np.inf)))
    assert infinite.count_wrong(4, answer(changed(0, 1, np.inf) + np.float32(1))) == 2


def test_first_answer_is_compared_with_an_expected_one():
    expected = [Prediction({"y": Y[0] + 1e-4, "n": N[0]}, ""), Prediction({"y": Y[1, :1], "n": N[1]}, "")]
    assert checker(expected=expected).count_wrong(4, answer()) == 0
    wrong = checker(expected=expected)
    assert wrong.count_wrong(4, answer(changed(0, 0, 1))) == 1
    assert wrong.count_wrong(4, answer(changed(0, 0, 1))) == 1
