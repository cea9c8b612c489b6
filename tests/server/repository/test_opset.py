"""The opset is read from the bytes of a graph, whatever else they have."""

import pytest

from rnnserve.server.repository.opset import read_opset


def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def imported(version, domain=b""):
    return field(8, (field(1, domain) if domain else b"") + bytes([2 << 3, version]))


def test_it_is_that_of_the_own_domain():
    head = b"\x08\x0a" + field(2, b"pytorch")  # ir_version, producer_name
    graph = bytes([7 << 3 | 2, 0x80, 0x02]) + bytes(256)
    assert read_opset(head + graph + imported(20)) == 20
    assert read_opset(head + imported(1, b"com.microsoft") + imported(18, b"ai.onnx") + graph) == 18
    assert read_opset(head + bytes([6 << 3 | 1]) + bytes(8) + bytes([6 << 3 | 5]) + bytes(4) + imported(13)) == 13
    assert read_opset(head + graph) == 0


@pytest.mark.parametrize("broken", [b"\x3a\x05abc", b"\x08", b"\x08" + b"\xff" * 12, b"\x0b", b"\x09abc"])
def test_what_is_no_message_is_refused(broken):
    with pytest.raises(ValueError, match="no message of protobuf"):
        read_opset(broken)
