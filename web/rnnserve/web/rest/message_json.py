"""From a message of the protocol to JSON as Triton writes it: names as in the .proto, whole numbers as numbers.

protobuf's own json_format writes numbers of 64 bits as strings, and leaves out what is 0.
"""

import base64
from typing import Any

from google.protobuf.message import Message

__all__ = ["message_json"]


def message_json(message: Message) -> dict[str, Any]:
    """Give every field of a message; messages in it that are not set are left out, and so is what a oneof lacks."""
    made: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            entry = field.message_type
            if entry is not None and entry.GetOptions().map_entry:
                inner = entry.fields_by_name["value"]
                made[field.name] = {str(key): _value(inner, value[key]) for key in value}
            else:
                made[field.name] = [_value(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            made[field.name] = _value(field, value)
    return made


def _value(field: Any, value: Any) -> Any:  # noqa: ANN401 - protobuf has two kinds of descriptors
    if field.message_type is not None:
        return message_json(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
