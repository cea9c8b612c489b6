"""Every way in which a request can be wrong, and what its sender is told."""

import numpy as np
import pytest

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import Settings
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.boundary.checking import check_request, parse_request
from rnnserve.server.boundary.signature import Signature, TensorSpec
from rnnserve.server.errors import InvalidRequest, NoMemory, ServeError, Unsupported


def signature(layers: int = 2, hidden: int = 16, *, zeros_after_lengths: bool = True) -> Signature:
    state = ("layers * directions", "batch", "hidden")
    return Signature(
        {
            "input": TensorSpec("input", "FP32", ("batch", "sequence", "features"), (-1, -1, 2)),
            "lengths": TensorSpec("lengths", "INT64", ("batch",), (-1,), optional=True, lengths_of="sequence"),
            "h_0": TensorSpec("h_0", "FP32", state, (layers, -1, hidden), optional=True),
        },
        {
            "logits": TensorSpec("logits", "FP32", ("batch", "classes"), (-1, 2)),
            "output": TensorSpec(
                "output",
                "FP32",
                ("batch", "sequence", "directions * hidden"),
                (-1, -1, hidden),
                zeros_after_lengths=zeros_after_lengths,
            ),
            "h_n": TensorSpec("h_n", "FP32", state, (layers, -1, hidden)),
        },
    )


def walks(batch=3, sequence=4):
    return np.arange(batch * sequence * 2, dtype=np.float32).reshape(batch, sequence, 2)


DEFAULTS, CLASSIFIER = Settings(), signature()


def read(message: pb.ModelInferRequest, settings: Settings = DEFAULTS, *, of: Signature = CLASSIFIER) -> CheckedRequest:
    return check_request(parse_request(message.SerializeToString(), settings), of, settings)


def refusal(message: pb.ModelInferRequest, settings: Settings = DEFAULTS, *, of: Signature = CLASSIFIER) -> str:
    with pytest.raises(InvalidRequest) as refused:
        read(message, settings, of=of)
    return str(refused.value)


def test_a_response_for_which_there_is_no_address_space_is_refused_before_the_run():
    message = request("m", {"input": walks()}, ["output"])  # 3 rows of 4 steps of 16 numbers
    assert check_request(message, CLASSIFIER, DEFAULTS, 768).outputs == ("output",)
    with pytest.raises(NoMemory) as refused:
        check_request(message, CLASSIFIER, DEFAULTS, 767)
    assert "the response would have 768 bytes" in str(refused.value)
    assert "the limit on the server's memory leaves 767 for one: send fewer rows" in str(refused.value)
    assert refused.value.status == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("raw", [True, False])
def test_arrays_come_out_as_they_went_in(raw):
    sent = {"input": walks(), "lengths": np.array([4, 1, 3]), "h_0": np.ones((2, 3, 16), np.float32)}
    checked = read(request("m", sent, ["h_n", "logits"], raw=raw))
    assert (checked.batch, checked.sizes, checked.longest, checked.steps) == (3, {"sequence": 4}, {"sequence": 4}, 4)
    assert checked.outputs == ("h_n", "logits")
    assert checked.inputs.keys() == sent.keys()
    for name, array in sent.items():
        np.testing.assert_array_equal(checked.inputs[name], array)
        assert checked.inputs[name].dtype == array.dtype


def test_all_outputs_where_none_is_named():
    assert read(request("m", {"input": walks()})).outputs == ("logits", "output", "h_n")


def test_longest_is_what_lengths_say_where_the_outputs_are_zeros_after_them():
    sent = {"input": walks(), "lengths": np.array([2, 1, 2])}
    for outputs in ([], ["logits"], ["output"], ["h_n", "logits"]):
        checked = read(request("m", sent, outputs))
        assert (checked.longest, checked.steps) == ({"sequence": 2}, 2)
    whole = signature(zeros_after_lengths=False)
    assert read(request("m", sent, ["logits", "h_n"]), of=whole).longest == {"sequence": 2}
    assert read(request("m", sent, ["logits", "output"]), of=whole).longest == {"sequence": 4}


WRONG_SHAPES = {
    "missing batch": ("input", (4, 2), ["has 2 axes where 3", "(batch, sequence, features=2)", "[1, 4, 2]"]),
    "one point": ("input", (2,), ["has 1 axis where 3", "[1, 1, 2]"]),
    "one axis too many": ("input", (1, 3, 4, 2), ["has 4 axes where 3", "too many in front"]),
    "no axes": ("input", (), ["shape []", "has 0 axes where 3"]),
    "features": ("input", (3, 4, 5), ["axis 2 (features) is 5 where 2 is expected"]),
    "features in the middle": ("input", (3, 2, 4), ["axis 2 (features) is 4", "Swap the last two axes: [3, 4, 2]"]),
    "features in front": ("input", (2, 3, 4), ["axis 2 (features) is 4", "Are the features in front?"]),
    "batch 0": ("input", (0, 4, 2), ["axis 0 (batch) is 0, and must be 1 or more"]),
    "sequence 0": ("input", (3, 0, 2), ["axis 1 (sequence) is 0, and must be 1 or more"]),
    "lengths of rank 2": ("lengths", (3, 1), ["lengths", "has 2 axes where 1 axis should be", "Flatten it to [3]"]),
    "lengths of another batch": ("lengths", (2,), ["axis 0 (batch) is 2", 'axis 0 (batch) of "input" is 3']),
    "sequence-first": ("lengths", (4,), ['Is "input" sequence-first?', "(sequence, batch, features)"]),
    "batch-first state": ("h_0", (3, 2, 16), ["axis 0 (layers * directions) is 3", "Is it batch-first?", "[2, 3, 16]"]),
    "state without layers": ("h_0", (3, 16), ["has 2 axes where 3", "Is an axis missing?", "[2, 3, 16]"]),
    "layers": ("h_0", (1, 3, 16), ["axis 0 (layers * directions) is 1 where 2", "one entry a layer and direction"]),
    "hidden": ("h_0", (2, 3, 8), ["axis 2 (hidden) is 8 where 16 is expected"]),
    "state of another batch": ("h_0", (2, 5, 16), ["axis 1 (batch) is 5", 'axis 0 (batch) of "input" is 3']),
}


@pytest.mark.parametrize(("name", "shape", "said"), WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_wrong_shape_is_explained(name, shape, said):
    dtype = np.int64 if name == "lengths" else np.float32
    message = refusal(request("m", {"input": walks(), name: np.ones(shape, dtype)}))
    assert f'input "{name}" has shape {list(shape)}' in message
    for part in said:
        assert part in message


def altered(change):
    message = request("m", {"input": walks(), "lengths": np.array([4, 1, 3])})
    change(message)
    return message


def rename(message, to="inputs"):
    message.inputs[0].name = to


def typed_and_raw(message):
    message.inputs[0].contents.fp32_contents.append(1.0)


def typed_in_the_wrong_field(message):
    del message.raw_input_contents[:]
    message.inputs[0].contents.fp64_contents.extend([0.0] * 24)


def too_few_elements(message):
    del message.raw_input_contents[:]
    message.inputs[0].contents.fp32_contents.extend([0.0] * 23)


DEFECTS = {
    "misspelt input": (
        rename,
        ['unknown input "inputs" (did you mean "input"?)', '"input" FP32 (batch, sequence, features=2)'],
    ),
    "missing input": (lambda m: (m.inputs.pop(0), m.raw_input_contents.pop(0)), ['input "input" is missing']),
    "input twice": (lambda m: rename_second(m), ['input "input" comes twice']),
    "datatype": (lambda m: setattr(m.inputs[0], "datatype", "FP64"), ['input "input" has datatype "FP64" where FP32']),
    "no datatype": (lambda m: setattr(m.inputs[0], "datatype", ""), ['input "input" has datatype ""']),
    "int lengths": (
        lambda m: setattr(m.inputs[1], "datatype", "INT32"),
        ['input "lengths" has datatype "INT32" where INT64'],
    ),
    "negative axis": (lambda m: m.inputs[0].shape.__setitem__(0, -1), ["axis 0 (batch) is -1, and must be 1 or more"]),
    "too few bytes": (
        lambda m: m.raw_input_contents.__setitem__(0, b"123"),
        ['"input" of shape [3, 4, 2]', "takes 96 bytes; raw_input_contents[0] has 3"],
    ),
    "too many bytes": (
        lambda m: m.raw_input_contents.__setitem__(1, b"0" * 25),
        ['"lengths" of shape [3]', "takes 24 bytes; raw_input_contents[1] has 25"],
    ),
    "raw entry missing": (lambda m: m.raw_input_contents.pop(), ["raw_input_contents has 1 entries for 2 inputs"]),
    "raw entry too many": (
        lambda m: m.raw_input_contents.append(b""),
        ["raw_input_contents has 3 entries for 2 inputs"],
    ),
    "typed and raw": (typed_and_raw, ['input "input" comes in contents and in raw_input_contents']),
    "wrong field": (typed_in_the_wrong_field, ['input "input" comes in fp64_contents', "belongs in fp32_contents"]),
    "too few elements": (too_few_elements, ["takes 24 elements; fp32_contents has 23"]),
    "unknown output": (lambda m: m.outputs.add(name="logit"), ['unknown output "logit" (did you mean "logits"?)']),
    "output twice": (
        lambda m: m.outputs.extend([m.InferRequestedOutputTensor(name="h_n")] * 2),
        ['output "h_n" is asked for twice'],
    ),
}


def rename_second(message):
    message.inputs[1].CopyFrom(message.inputs[0])


@pytest.mark.parametrize(("change", "said"), DEFECTS.values(), ids=DEFECTS)
def test_a_defect_is_named(change, said):
    message = refusal(altered(change))
    for part in said:
        assert part in message


@pytest.mark.parametrize("length", [0, -1, 5, 2**62, -(2**63)])
def test_a_length_lies_within_the_sequence(length):
    message = refusal(request("m", {"input": walks(), "lengths": np.array([4, length, 3])}))
    assert f'input "lengths" is {length} for row 1 of axis 0 (batch)' in message
    assert 'axis 1 (sequence) of "input", which is 4' in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["input", "h_0"])
def test_numbers_are_finite(name, value):
    sent = {"input": walks(), "h_0": np.zeros((2, 3, 16), np.float32)}
    sent[name][1, 2, 1] = value
    said = {"input": "(batch 1, sequence 2, features 1)", "h_0": "(layers * directions 1, batch 2, hidden 1)"}
    message = refusal(request("m", sent))
    assert f'input "{name}" is {value} at [1, 2, 1] {said[name]}' in message
    allowed = read(request("m", sent), Settings(allow_non_finite=True))
    np.testing.assert_array_equal(allowed.inputs[name], sent[name])


def test_padding_may_hold_anything_and_reaches_no_model():
    sent = walks()
    sent[1, 1:] = np.nan
    checked = read(request("m", {"input": sent, "lengths": np.array([4, 1, 4])}))
    np.testing.assert_array_equal(checked.inputs["input"], np.nan_to_num(sent))
    assert "[1, 1, 0]" in refusal(request("m", {"input": sent, "lengths": np.array([4, 2, 4])}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(max_batch=2), ["axis 0 (batch) is 3, more than the 2", "--max-batch"]),
        (Settings(max_sequence=3), ["axis 1 (sequence) is 4, more than the 3", "--max-sequence"]),
        (Settings(max_message_bytes=100), ["bytes, more than the 100", "--max-message-bytes"]),
    ],
    ids=["batch", "sequence", "bytes"],
)
def test_what_is_too_large_is_refused(settings, said):
    message = refusal(request("m", {"input": walks()}), settings)
    for part in said:
        assert part in message


def test_a_shape_too_large_for_its_bytes_allocates_nothing():
    message = request("m", {"input": walks()})
    del message.inputs[0].shape[:]
    message.inputs[0].shape.extend([16384, 4096, 2])
    assert "takes 536870912 bytes" in refusal(message)


def test_bytes_that_are_no_request():
    with pytest.raises(InvalidRequest, match=r"3 bytes are not an inference\.ModelInferRequest"):
        parse_request(b"\xff\xff\xff", Settings())


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "r"),
        lambda m: m.outputs.add(name="logits").parameters["shared_memory_region"].__setattr__("string_param", "r"),
    ],
)
def test_what_is_not_spoken_is_said(change):
    message = altered(change)
    with pytest.raises(Unsupported):
        read(message)
    assert issubclass(Unsupported, ServeError)


def test_what_parameters_ask_for_is_in_the_checked_request():
    def change(message):
        message.parameters["timeout"].int64_param = 1500
        message.outputs.add(name="logits").parameters["classification"].int64_param = 9

    checked = read(altered(change))
    assert (checked.classes, checked.timeout, checked.is_plain) == ({"logits": 2}, 0.0015, False)
    assert read(request("m", {"input": walks()})).is_plain


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: m.inputs[0].__setattr__("name", "inputs"), "inputs[0].name"),
        (lambda m: m.inputs.append(m.inputs[1]), "inputs[3].name"),
        (lambda m: m.inputs[1].__setattr__("datatype", "INT32"), "inputs[1].datatype"),
        (lambda m: m.inputs.pop(0), "inputs"),
        (lambda m: m.inputs[0].shape.append(1), "inputs[0].shape"),
        (lambda m: m.inputs[2].shape.extend([1] * 20), "inputs[2].shape"),
        (lambda m: m.inputs[2].shape.__setitem__(1, 2), "inputs[2].shape"),
        (lambda m: m.inputs[0].shape.__setitem__(1, 5000), "inputs[0].shape"),
        (lambda m: m.raw_input_contents.pop(), "raw_input_contents"),
        (lambda m: m.raw_input_contents.__setitem__(2, b""), "raw_input_contents[2]"),
        (lambda m: m.inputs[1].contents.int64_contents.append(1), "inputs[1].contents"),
        (lambda m: m.raw_input_contents.__setitem__(1, np.array([1, 0, 2]).tobytes()), "raw_input_contents[1]"),
        (lambda m: m.raw_input_contents.__setitem__(0, np.full(24, np.nan, "f4").tobytes()), "raw_input_contents[0]"),
        (lambda m: m.outputs.add(name="logit"), "outputs[0].name"),
        (lambda m: m.outputs.extend([m.outputs.add(name="h_n")] * 2), "outputs[1].name"),
        (lambda m: m.__setattr__("id", "x" * 5000), "id"),
    ],
)
def test_the_field_that_is_wrong_is_named(change, field):
    states = np.ones((2, 3, 16), np.float32)
    message = request("m", {"input": walks(), "lengths": np.array([4, 1, 3]), "h_0": states})
    change(message)
    with pytest.raises(InvalidRequest) as refused:
        read(message)
    assert refused.value.field == field


def test_the_field_of_typed_data_is_named():
    message = request("m", {"input": np.full((1, 1, 2), np.inf, np.float32)}, raw=False)
    with pytest.raises(InvalidRequest) as refused:
        read(message)
    assert refused.value.field == "inputs[0].contents"
