"""The parameters of a request and of its outputs: allowed values and their meaning."""

import math

import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.validation.parsing import read_classes, read_timeout
from rnnserve.server.validation.signature import Signature, TensorSpec

SIGNATURE = Signature(
    {"input": TensorSpec("input", "FP32", ("batch", "sequence"), (-1, -1))},
    {
        "logits": TensorSpec("logits", "FP32", ("batch", "classes"), (-1, 5)),
        "top": TensorSpec("top", "FP32", ("batch", "classes"), (-1, 5)),
        "steps": TensorSpec("steps", "INT32", ("batch", "sequence"), (-1, -1)),
        "mean": TensorSpec("mean", "FP32", ("batch",), (-1,)),
        "flags": TensorSpec("flags", "BOOL", ("batch", "classes"), (-1, 5)),
        "tags": TensorSpec("tags", "FP32", ("batch", "sequence", "classes"), (-1, -1, 4)),
    },
)


def parameters(**values):
    message = pb.ModelInferRequest()
    for name, (kind, value) in values.items():
        setattr(message.parameters[name], kind, value)
    return message.parameters


def test_timeout_is_in_microseconds():
    for kind in ("int64_param", "uint64_param"):
        assert read_timeout(parameters(timeout=(kind, 2500))) == 0.0025
        assert read_timeout(parameters(timeout=(kind, 0))) == math.inf
    assert read_timeout(parameters()) == math.inf
    others = parameters(priority=("uint64_param", 7), own=("double_param", 0.5))
    others["triton_enable_empty_final_response"].bool_param = True
    assert read_timeout(others) == math.inf


@pytest.mark.parametrize("name", ["timeout", "priority"])
def test_timeout_and_priority_are_whole_numbers(name):
    for value in (("int64_param", -1), ("string_param", "1"), ("bool_param", True)):
        with pytest.raises(InvalidRequest, match=f"^parameter {name} must be an integer of 0 or more") as refused:
            read_timeout(parameters(**{name: value}))
        assert refused.value.field == f'parameters["{name}"]'


def test_parameter_names_of_triton_are_reserved():
    with pytest.raises(InvalidRequest, match="names that begin with triton_ are reserved"):
        read_timeout(parameters(triton_x=("bool_param", True)))


def asked(name, kind="int64_param", value=2):
    message = pb.ModelInferRequest()
    message.outputs.add(name="logits")
    setattr(message.outputs.add(name=name).parameters["classification"], kind, value)
    return message


def classes(message, batch=1, sequence=1):
    return read_classes(message, SIGNATURE, batch, {"sequence": sequence})


def test_number_of_classes_is_limited_to_the_axis():
    assert classes(asked("tags")) == {"tags": 2}
    assert classes(asked("tags", value=2**62)) == {"tags": 4}
    assert classes(pb.ModelInferRequest()) == {}


def test_classification_needs_a_number_and_an_output_with_classes():
    for value in (("int64_param", 0), ("int64_param", -2), ("string_param", "2"), ("bool_param", True)):
        with pytest.raises(InvalidRequest, match=r'^output "tags": parameter classification must be the') as refused:
            classes(asked("tags", *value))
        assert refused.value.field == 'outputs[1].parameters["classification"]'
    for name in ("steps", "mean", "flags"):
        with pytest.raises(InvalidRequest, match=rf'^output "{name}" .* has no classes, because its last axis must'):
            classes(asked(name))


def test_classification_of_too_many_elements_is_refused():
    assert classes(asked("tags", value=1), batch=16, sequence=1024) == {"tags": 1}
    assert classes(asked("top", value=1), batch=16384) == {"top": 1}
    for name, value, batch, sequence in (
        ("tags", 1, 33, 1024),  # too many to rank
        ("top", 1, 16385, 1),  # too many to write
        ("top", 5, 3277, 1),
    ):
        with pytest.raises(
            InvalidRequest, match=rf'^output "{name}" has .* ranks at most 131,072 elements and returns at most 16,384'
        ):
            classes(asked(name, value=value), batch, sequence)
