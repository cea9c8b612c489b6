"""Services, messages and enumerations of .proto files with the comments of their parts, read by protoc."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb
from grpc_tools import protoc

from reference_text import cell

ROOT = Path(__file__).parents[2] / "protos"

_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
"""Numbers of fields of FileDescriptorProto, of which the places of comments are made."""

_FIELDS, _NESTED, _NESTED_ENUMS, _VALUES, _METHODS = 2, 3, 4, 2, 2
"""The same of DescriptorProto, EnumDescriptorProto and ServiceDescriptorProto."""

_Field = pb.FieldDescriptorProto


@dataclasses.dataclass
class Described:
    """A message, an enumeration or a service with the comments of its parts.

    Attributes:
        kind: message, enum or service.
        name: Name, after the name of the message around it.
        comment: Text above it.
        rows: Name, type and text of each field, value or method.
    """

    kind: str
    name: str
    comment: str
    rows: list[tuple[str, str, str]]

    def lines(self) -> Iterator[str]:
        """The comment and the fields that have one, line by line, or nothing if there are no comments."""
        rows = [row for row in self.rows if row[2]]
        if rows or self.comment:
            yield f"### `{self.name}`\n"
            if self.comment:
                yield f"{cell(self.comment)}\n"
            yield from (f"- `{name}` ({cell(of)}): {cell(said)}" for name, of, said in rows)
            if plain := [f"`{name}` ({cell(of)})" for name, of, said in self.rows if not said]:
                yield f"- {', '.join(plain)}"
            yield ""


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
                raise ValueError(f"protoc cannot read {path}")
            (self._file,) = pb.FileDescriptorSet.FromString(made.read_bytes()).file
        self._comments = {tuple(one.path): one for one in self._file.source_code_info.location}

    def _said(self, *path: int) -> str:
        place = self._comments.get(path)
        return "" if place is None else " ".join(f"{place.leading_comments} {place.trailing_comments}".split())

    def services(self) -> Iterator[Described]:
        """The services. A method has a sentence about its streams in the place of a type."""
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
    if method.server_streaming:
        return "Streams both ways. " if method.client_streaming else "Streams responses. "
    return ""


def _type(field: _Field, entries: dict[str, pb.DescriptorProto]) -> str:
    kind = field.type_name.rpartition(".")[2] or _Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if kind in entries:
        key, value = entries[kind].field
        return f"map<{_type(key, {})}, {_type(value, {})}>"
    return f"repeated {kind}" if field.label == _Field.LABEL_REPEATED else kind
