"""What .proto files say: services, messages and enumerations with the comments of their fields, read by protoc."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb
from grpc_tools import protoc

from reference_text import cell, table

ROOT = Path(__file__).parents[2] / "protos"

_SYNTAX, _MESSAGES, _ENUMS, _SERVICES = 12, 4, 5, 6
"""Numbers of fields of FileDescriptorProto, of which the places of comments are made."""

_FIELDS, _NESTED, _NESTED_ENUMS, _VALUES, _METHODS = 2, 3, 4, 2, 2
"""The same of DescriptorProto, EnumDescriptorProto and ServiceDescriptorProto."""

_Field = pb.FieldDescriptorProto


@dataclasses.dataclass
class Described:
    """A message, an enumeration or a service: what the comments say of it and of its parts.

    Attributes:
        kind: message, enum or service.
        name: Name, that of the message around it before it.
        comment: Text above it.
        rows: Name, type and text of each field, value or method.
    """

    kind: str
    name: str
    comment: str
    rows: list[tuple[str, str, str]]

    def lines(self) -> Iterator[str]:
        """A heading and a table, line by line."""
        yield f"### `{self.name}`\n"
        if self.comment:
            yield f"{cell(self.comment)}\n"
        if self.rows:
            heads = ("field", "type", "means") if self.kind == "message" else ("value", "number", "means")
            yield from table(heads, [(f"`{name}`", f"`{of}`", cell(said) or "-") for name, of, said in self.rows])


class Proto:
    """A .proto file."""

    def __init__(self, name: str) -> None:
        """Read it.

        Args:
            name: File in protos/rnnserve/protos/.

        Raises:
            ValueError: If protoc does not read it.
        """
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch, "descriptors")
            path = f"rnnserve/protos/{name}"
            if protoc.main(["protoc", f"-I{ROOT}", "--include_source_info", f"--descriptor_set_out={made}", path]):
                raise ValueError(f"protoc does not read {path}")
            (self._file,) = pb.FileDescriptorSet.FromString(made.read_bytes()).file
        self._comments = {tuple(one.path): one for one in self._file.source_code_info.location}

    @property
    def package(self) -> str:
        """Name of the package."""
        return self._file.package

    @property
    def intro(self) -> str:
        """The comment above all."""
        return " ".join("".join(self._comments[_SYNTAX,].leading_detached_comments).split())

    def _said(self, *path: int) -> str:
        place = self._comments.get(path)
        return "" if place is None else " ".join(f"{place.leading_comments} {place.trailing_comments}".split())

    def services(self) -> Iterator[Described]:
        """The services; the type of a method says which of its two messages are streams."""
        for at, service in enumerate(self._file.service):
            rows = [
                (method.name, _way(method), self._said(_SERVICES, at, _METHODS, place))
                for place, method in enumerate(service.method)
            ]
            yield Described("service", f"{self._file.package}.{service.name}", self._said(_SERVICES, at), rows)

    def described(self) -> Iterator[Described]:
        """The messages and enumerations, in the file's order; those within a message come after it."""
        parts = [(_MESSAGES, at) for at in range(len(self._file.message_type))]
        parts += [(_ENUMS, at) for at in range(len(self._file.enum_type))]
        for kind, at in sorted(parts, key=lambda path: self._comments[path].span[0]):
            if kind == _MESSAGES:
                yield from self._of_message(self._file.message_type[at], "", (kind, at))
            else:
                yield self._of_enum(self._file.enum_type[at], "", (kind, at))

    def _of_message(self, message: pb.DescriptorProto, before: str, path: tuple[int, ...]) -> Iterator[Described]:
        name = before + message.name
        entries = {one.name: one for one in message.nested_type if one.options.map_entry}
        rows = [
            (field.name, _type(field, entries), self._said(*path, _FIELDS, at))
            for at, field in enumerate(message.field)
        ]
        yield Described("message", name, self._said(*path), rows)
        for at, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._of_message(nested, f"{name}.", (*path, _NESTED, at))
        for at, enum in enumerate(message.enum_type):
            yield self._of_enum(enum, f"{name}.", (*path, _NESTED_ENUMS, at))

    def _of_enum(self, enum: pb.EnumDescriptorProto, before: str, path: tuple[int, ...]) -> Described:
        rows = [(value.name, str(value.number), self._said(*path, _VALUES, at)) for at, value in enumerate(enum.value)]
        return Described("enum", before + enum.name, self._said(*path), rows)


def _way(method: pb.MethodDescriptorProto) -> str:
    if method.client_streaming:
        return "a stream each way" if method.server_streaming else "a stream of requests"
    return "a stream of answers" if method.server_streaming else "one request, one answer"


def _type(field: _Field, entries: dict[str, pb.DescriptorProto]) -> str:
    kind = field.type_name.rpartition(".")[2] or _Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if kind in entries:
        key, value = entries[kind].field
        return f"map<{_type(key, {})}, {_type(value, {})}>"
    return f"repeated {kind}" if field.label == _Field.LABEL_REPEATED else kind
