"""From HTTP bodies to messages: what is read, and the message for each mistake."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rnnserve.protos.datatypes import DTYPES
from rnnserve.web.errors import RestError
from rnnserve.web.rest.infer_request import AnswerForm, read_infer_request

WALK = [[[0.5, -1.0], [2.0, 3.0]]]


def tensor(data=WALK, shape=(1, 2, 2), datatype="FP32", **more):
    return {"name": "x", "shape": list(shape), "datatype": datatype, "data": data, **more}


def body(*inputs, **more):
    return json.dumps({"inputs": list(inputs), **more}).encode()


def read(text, header_length=None):
    return read_infer_request(text, header_length, "model", "")


def refusal(text, header_length=None):
    with pytest.raises(RestError) as caught:
        read(text, header_length)
    assert caught.value.status == 400
    return str(caught.value)


def raw_of(text, header_length=None):
    request, _ = read(text, header_length)
    return list(request.raw_input_contents)


@pytest.mark.parametrize("data", [WALK, [0.5, -1.0, 2.0, 3.0], [0.5, -1, 2, 3]])
def test_nested_flat_and_integer_data_have_the_same_bytes(data):
    assert raw_of(body(tensor(data))) == [np.array(WALK, "<f4").tobytes()]


def test_request_has_all_its_fields():
    text = body(
        tensor(),
        id="a:b",
        parameters={"sequence_id": 7, "sequence_start": True, "timeout": 2**63, "share": 0.5, "key": "k"},
        outputs=[
            {"name": "logits", "parameters": {"classification": 2}},
            {"name": "h_n", "parameters": {"binary_data": True}},
        ],
    )
    request, form = read_infer_request(text, None, "m", "3")
    assert (request.model_name, request.model_version, request.id) == ("m", "3", "a:b")
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()}
    assert kinds == {
        "sequence_id": "int64_param",
        "sequence_start": "bool_param",
        "timeout": "uint64_param",
        "share": "double_param",
        "key": "string_param",
    }
    assert [output.name for output in request.outputs] == ["logits", "h_n"]
    assert request.outputs[0].parameters["classification"].int64_param == 2
    assert not request.outputs[1].parameters
    assert form == AnswerForm(frozenset({"h_n"}))


def test_binary_outputs_are_chosen_as_in_triton():
    every = read(body(tensor(), parameters={"binary_data_output": True}))[1]
    named = read(body(tensor(), parameters={"binary_data_output": True}, outputs=[{"name": "y"}]))[1]
    assert every.is_binary("y")
    assert not named.is_binary("y")


@given(
    arrays.arrays(
        st.sampled_from([dtype for name, dtype in DTYPES.items() if name != "FP16"]),
        arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4),
        elements={"allow_nan": True, "allow_infinity": True},
    ),
    st.booleans(),
)
def test_arrays_arrive_bit_for_bit(array, is_nested):
    """This includes NaN and infinities, as Python's json writes them."""
    name = next(name for name, dtype in DTYPES.items() if dtype == array.dtype)
    data = (array if is_nested else array.reshape(-1)).tolist()
    (raw,) = raw_of(body(tensor(data, array.shape, name)))
    arrived = np.frombuffer(raw, array.dtype).reshape(array.shape)
    np.testing.assert_array_equal(arrived, array)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_binary_inputs_have_their_bytes_in_order(pieces, draw):
    in_json = draw.draw(st.integers(0, len(pieces) - 1))
    inputs, binary, expected = [], b"", []
    for index, piece in enumerate(pieces):
        if index == in_json:
            inputs.append(tensor([1, 2], (2,), "INT8"))
            expected.append(b"\1\2")
        else:
            inputs.append({**tensor(), "parameters": {"binary_data_size": len(piece)}})
            del inputs[-1]["data"]
            binary += piece
            expected.append(piece)
    head = body(*inputs)
    assert raw_of(head + binary, len(head)) == expected


@pytest.mark.parametrize(
    ("datatype", "data", "said"),
    [
        ("FP32", [1, True], "element 1 of data is true; expected for FP32: a number"),
        ("FP32", ["1"], 'element 0 of data is "1"'),
        ("FP32", [None], "element 0 of data is null"),
        ("FP32", [1, 1e39], "element 1 of data is 1e+39; expected for FP32: at most 3.4028235e+38"),
        ("FP32", [10**400], "element 0 of data is 1000"),
        ("FP64", [10**400], "element 0 of data is 1000"),
        ("INT64", [1, 2.0], "element 1 of data is 2.0; expected for INT64: an integer without a decimal point"),
        ("INT64", [True], "element 0 of data is true"),
        ("INT64", [2**63], f"element 0 of data is {2**63}; expected for INT64: {-(2**63)}..{2**63 - 1}"),
        ("UINT64", [2**64], "element 0 of data is 1.8446744073709552e+19"),
        ("UINT8", [0, -1], "element 1 of data is -1; expected for UINT8: 0..255"),
        ("INT8", [128], "expected for INT8: -128..127"),
        ("BOOL", [2], "expected for BOOL: true or false"),
        ("BOOL", [1.0], "expected for BOOL: true or false"),
        ("FP16", [1.0], "JSON cannot represent FP16"),
        ("BYTES", [1], "expected for BYTES: text"),
    ],
)
def test_element_outside_its_datatype_is_named(datatype, data, said):
    assert said in refusal(body(tensor(data, (len(data),), datatype)))


def test_booleans_are_true_and_false_or_1_and_0():
    assert raw_of(body(tensor([True, False], (2,), "BOOL"))) == raw_of(body(tensor([1, 0], (2,), "BOOL")))


def test_bytes_are_sent_as_text():
    assert raw_of(body(tensor(["é", ""], (2,), "BYTES"))) == [b"\2\0\0\0\xc3\xa9\0\0\0\0"]
    assert "half of a surrogate pair" in refusal(body(tensor(["\ud800"], (1,), "BYTES")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not JSON"),
        (b"{", "line 1, column 2"),
        (b"\xff{}", "byte 0 is not UTF-8"),
        (b"[]", "a JSON list; expected an object"),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"inputs":' + b"9" * 5000 + b"}", "cannot be read"),
        (b'{"id": "a", "id": "b", "inputs": []}', 'the name "id" occurs twice'),
        (b'{"inputs": [{"name": "x", "name": "y"}]}', 'the name "name" occurs twice'),
        (b"{}", "inputs is missing"),
        (b'{"inputs": {}}', "inputs must be a list of objects"),
        (b'{"inputs": [1]}', "inputs must be a list of objects"),
        (b'{"id": 7, "inputs": []}', "id must be a string"),
        (b'{"parameters": [], "inputs": []}', "parameters must be an object"),
        (b'{"parameters": {"a": null}, "inputs": []}', 'the value of "a" must be a string'),
        (b'{"parameters": {"a": [1]}, "inputs": []}', 'the value of "a" must be a string'),
        (b'{"parameters": {"binary_data_output": 1}, "inputs": []}', "binary_data_output must be true or false"),
        (b'{"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]}', "true or false"),
        (b'{"inputs": [], "outputs": [{}]}', "outputs[0].name is missing"),
        (b'{"inputs": [], "outputs": 3}', "outputs must be a list"),
    ],
)
def test_invalid_body_is_explained(text, said):
    assert said in refusal(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": None}, "inputs[0].name is missing"),
        ({"name": ""}, "inputs[0].name must be a string"),
        ({"name": "\ud800"}, r"the body has \ud800, which is half of a surrogate pair"),
        ({"parameters": {"\udfff": 3}}, r"the body has \udfff, which is half of a surrogate pair"),
        ({"parameters": {"a": "b\ud800"}}, r"the body has \ud800, which is half of a surrogate pair"),
        ({"datatype": 7}, "inputs[0].datatype must be a string"),
        ({"shape": None}, "inputs[0].shape is missing"),
        ({"shape": [1.0]}, "inputs[0].shape is wrong"),
        ({"shape": [True]}, "inputs[0].shape is wrong"),
        ({"shape": [2**63]}, "does not fit 64 bits"),
        ({"shape": [1] * 1_000_000}, "inputs[0].shape has 1,000,000 axes; at most 16"),
        ({"data": 5}, "data must be a list"),
        ({"data": [[1, 2], [3]]}, "ragged: the lists at depth 1 have 1 elements and 2 elements"),
        ({"data": [[1, 2], 3]}, "ragged: the lists at depth 1 have 2 elements and no list"),
        ({"data": [[0.5, -1.0, 2.0, 3.0]]}, "data is nested as [1, 4], but shape is [1, 2, 2]"),
        ({"data": json.loads("[" * 40 + "]" * 40)}, "nested deeper than 16 lists"),
        ({"parameters": {"binary_data_size": 16}}, "send either data or parameters.binary_data_size, not both"),
        ({"parameters": 3}, "inputs[0].parameters must be an object"),
    ],
)
def test_invalid_tensor_is_explained(change, said):
    assert said in refusal(body(tensor() | change))


@pytest.mark.parametrize(
    ("size", "length", "said"),
    [
        (8, -1, "Inference-Header-Content-Length is -1, but the decompressed body has"),
        (8, 10**9, "Inference-Header-Content-Length is 1,000,000,000, but the decompressed body has"),
        (8, 5, "the body is not JSON"),
        (9, None, "binary_data_size is 9, but only 8 bytes remain"),
        (7, None, "1 bytes of the body belong to no input"),
        (-1, None, "the number of the input's bytes, 0 or more"),
        (True, None, "the number of the input's bytes, 0 or more"),
        (8.0, None, "the number of the input's bytes, 0 or more"),
    ],
)
def test_inconsistent_binary_sizes_are_explained(size, length, said):
    head = body({"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": size}})
    assert said in refusal(head + bytes(8), len(head) if length is None else length)


def test_wrong_number_of_elements_is_refused():
    for shape, expected in (((2, 2), 4), ((0, 2), 0), ((2**62, 4), 2**64)):
        said = f'input "x": data has 3 elements, but shape {list(shape)} needs {expected:,}'
        assert said in refusal(body(tensor([1, 0, 1], shape)))


def test_unknown_size_in_a_shape_is_passed_on():
    request, _ = read(body(tensor([1, 0], (-1, 2))))
    assert tuple(request.inputs[0].shape) == (-1, 2)


@pytest.mark.parametrize("extra", [b"", b" ", b'"id":"a\\"b",'])
def test_cached_frame_layout_reads_like_a_new_one(extra):
    """The cache compares the text between the numbers, so a frame that only looks alike is parsed."""

    def sent(datatype, data, shape=(1, 2), more=b""):
        return b'{%s"inputs":[{"name":"x","shape":%s,"datatype":"%s","data":%s%s}]}' % (
            extra, str(list(shape)).encode(), datatype, data, more)  # fmt: skip

    for datatype, data, expected in ((b"FP32", b"[1, 2.5]", "<f4"), (b"FP32", b"[[ 3,4]]", "<f4"),
                                     (b"INT8", b"[5,-6]", "i1"), (b"BOOL", b"[1, 0]", "?")):  # fmt: skip
        for _ in range(2):
            assert raw_of(sent(datatype, data)) == [np.array(json.loads(data), expected).tobytes()]
    for wrong, said in ((sent(b"INT8", b"[5,1.5]"), "without a decimal point"), (sent(b"FP32", b"[1,,2]"), "not JSON"),
                        (sent(b"FP32", b"[[1],2]"), "ragged"), (sent(b"FP32", b"[1,2,3]"), "3 elements"),
                        (sent(b"FP32", b"[[1],[2]]"), "nested as [2, 1]"), (sent(b"BOOL", b"[1,2]"), "true or false"),
                        (sent(b"FP32", b"[1,2]", more=b',"data":[3,4]'), "occurs twice")):  # fmt: skip
        assert said in refusal(wrong)


def test_numbers_outside_the_inputs_are_ignored():
    strings = b'{"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","data":["a","b"]}],"data":[1,2]}'
    assert raw_of(strings) == [b"\1\0\0\0a\1\0\0\0b"]
    escaped = b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","d\\u0061ta":[7,8]}],"data":[1,2]}'
    assert raw_of(escaped) == [np.array([7, 8], "<f4").tobytes()]
    assert "0 elements" in refusal(escaped.replace(b"7,8", b""))
    nothing = b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":null}],"data":[1,2]}'
    assert "data must be a list" in refusal(nothing)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["inputs", "outputs", "name", "datatype", "shape", "data", "parameters", "id", "é"]),
        inner, max_size=5,
    )
), max_leaves=25), st.none() | st.integers(-3, 60))  # fmt: skip
def test_any_json_is_read_or_refused(value, length):
    """Nothing but RestError comes of it."""
    text = json.dumps(value).encode()
    try:
        request, _ = read(text, length)
        said = request.SerializeToString()
    except RestError as error:
        said = str(error)
    assert said
