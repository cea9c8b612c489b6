"""The version of ONNX's operators that a graph is of, read from the bytes of its file without its nodes and weights."""

__all__ = ["read_opset"]

_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2
"""Numbers of the fields: of ModelProto, and of OperatorSetIdProto in it (onnx.proto)."""


def read_opset(model: bytes) -> int:
    """The version of the operators of ONNX's own domain; 0 where the file does not say it.

    Raises:
        ValueError: If the bytes are no message of protobuf.
    """
    opset = 0
    for field, value in _fields(model):
        if field == _OPSET_IMPORT and isinstance(value, memoryview):
            imported = dict(_fields(value))
            if bytes(imported.get(_DOMAIN, b"")) in (b"", b"ai.onnx"):
                opset = max(opset, int(imported.get(_VERSION, 0)))
    return opset


def _fields(message: "bytes | memoryview[int]") -> "list[tuple[int, int | memoryview[int]]]":
    """The fields of a message: number, and value or bytes. Nothing is copied."""
    view, at, found = memoryview(message), 0, []
    while at < len(view):
        key, at = _varint(view, at)
        value: int | memoryview[int]
        match key & 7:
            case 0:
                value, at = _varint(view, at)
            case 2:
                size, at = _varint(view, at)
                value, at = view[at : at + size], at + size
            case 1 | 5 as kind:
                size = 8 if kind == 1 else 4
                value, at = view[at : at + size], at + size
            case kind:
                raise ValueError(f"no message of protobuf: wire type {kind}")
        if at > len(view):
            raise ValueError("no message of protobuf: it is cut off")
        found.append((key >> 3, value))
    return found


def _varint(view: "memoryview[int]", at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError("no message of protobuf: a number is cut off")
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
