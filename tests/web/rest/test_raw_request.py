"""Bodies that are the bytes of one input."""

import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.errors import RestError
from rnnserve.web.rest.infer_request import read_raw_request


def metadata(*inputs):
    made = pb.ModelMetadataResponse(name="m")
    for name, axes, shape, is_optional in inputs:
        added = made.inputs.add(name=name, datatype="FP32", shape=shape)
        added.parameters["axes"].string_param = axes
        if is_optional:
            added.parameters["optional"].bool_param = True
    return made


WALK = ("sequences", "batch, sequence, features", [-1, -1, 2], False)
STATE = ("h_0", "layers * directions, batch, hidden", [1, -1, 16], True)


def test_the_open_axis_follows_from_the_bytes():
    request = read_raw_request(bytes(24), metadata(WALK, STATE), "m", "1")
    assert [tensor.name for tensor in request.inputs] == ["sequences"]
    assert list(request.inputs[0].shape) == [1, 3, 2]
    assert request.raw_input_contents[0] == bytes(24)


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        (metadata(WALK), 23, "leaves the shape .* open: one step of it takes 8 bytes"),
        (metadata(WALK), 0, "open"),
        (metadata(("x", "batch, a, b", [-1, -1, -1], False)), 8, "open"),
        (metadata(WALK, ("y", "batch", [-1], False)), 8, '"sequences", "y"'),
        (metadata(STATE), 8, "none that has to be sent"),
    ],
)
def test_what_leaves_the_shape_open(model, size, said):
    with pytest.raises(RestError, match=said):
        read_raw_request(bytes(size), model, "m", "")


def test_a_shape_without_open_axes_is_for_the_server_to_compare():
    request = read_raw_request(b"abc", metadata(("x", "batch, features", [-1, 2], False)), "m", "")
    assert list(request.inputs[0].shape) == [1, 2]
