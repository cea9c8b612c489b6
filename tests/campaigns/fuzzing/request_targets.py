"""Fuzz targets that read requests: validation, the count of fields, the prefix cache."""

import random
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from campaigns.fuzzing.byte_mutations import mutate_bytes
from campaigns.fuzzing.message_mutations import with_other_values
from campaigns.fuzzing.traffic import mutate_request, valid_requests
from campaigns.fuzzing.wire_format import DELIMITED, delimited, split
from kit.loaded import load_repository
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import Settings
from rnnserve.server.errors import InternalError, InvalidRequest, ServeError
from rnnserve.server.fast_path.templates import PrefixCache
from rnnserve.server.protocol.service import Service
from rnnserve.server.validation.parsing import refuse_crowded

_MAX_FIELDS = 2048
_MAX_MESSAGE = 4096
_INPUTS, _OUTPUTS, _DATA = 5, 6, 7


def load_service(repository: Path) -> Service:
    """Create the service with the example models (`kit.examples.publish_examples`), without a transport."""
    return Service(load_repository(repository), Settings(repository, provider="cpu"))


class BoundaryTarget:
    """`Service.accept` checks a request, or refuses it with an error that blames the client."""

    name = "validation"

    def __init__(self, service: Service) -> None:
        self._service = service

    def seeds(self) -> list[bytes]:
        return valid_requests({}, 1)

    def mutate(self, data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        return mutate_request(data, others, chance)

    def read(self, data: bytes) -> None:
        try:
            served, checked = self._service.accept(data)
        except InternalError:
            raise
        except ServeError as error:
            said = str(error)
            assert said
            assert len(said.encode(errors="replace")) <= _MAX_MESSAGE
            return
        for name, array in checked.inputs.items():
            spec = served.model.signature.inputs[name]
            assert array.shape == spec.shape(checked.batch, checked.sizes)
            assert array.dtype == spec.dtype
            assert array.size
            assert spec.bounds is None or not spec.sequence_axes or int(array.min()) >= spec.bounds[0]
        for axis, spec in served.model.signature.lengths.items():
            lengths = checked.inputs.get(spec.name)
            assert lengths is None or 1 <= int(lengths.min()) <= int(lengths.max()) <= checked.sizes[axis]


class FieldCountTarget:
    """Compare `refuse_crowded` with protobuf: accept messages with few fields, refuse those with many objects."""

    name = "field_counts"

    def seeds(self) -> list[bytes]:
        crowded = [tag + b"\0" for tag in (b"\x22", b"\x2a", b"\x32", b"\x3a", b"\x7a")]
        typed = b"\x2a" + b"\x84\x40" + b"\x2a\x80\x40" + b"\x35\0\0\x80\x3f" * 1638 + b"\0\0"
        inner = [delimited(number, b"\x22\0" * 2040) for number in (_INPUTS, _OUTPUTS)]
        return [*(field * 2040 for field in crowded), *(field * 2100 for field in crowded), *inner, typed]

    def mutate(self, data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        """Repeat a field up to the limit and beyond, on some level, or change fields and bytes."""
        try:
            pieces = split(data)
        except ValueError:
            return mutate_bytes(data, others, chance)
        if not pieces or chance.random() < 0.5:
            return mutate_request(data, others, chance)
        at = chance.randrange(len(pieces))
        repeated = pieces[at].data[:64] * chance.choice((1, 10, 1000, 2000, _MAX_FIELDS - len(pieces), 2050))
        if chance.random() < 0.5:
            repeated = delimited(chance.choice((_INPUTS, _OUTPUTS, _DATA, 4)), repeated)
        return b"".join(piece.data for piece in pieces[:at]) + repeated + b"".join(p.data for p in pieces[at:])

    def read(self, data: bytes) -> None:
        try:
            refuse_crowded(data)
            is_refused = False
        except InvalidRequest:
            is_refused = True
        try:
            message = pb.ModelInferRequest.FromString(data)
            fields = _count_fields(data)
        except (DecodeError, ValueError):
            return  # whatever the result, the parser refuses it
        assert is_refused or _count_objects(message) <= _MAX_FIELDS
        assert not is_refused or fields > _MAX_FIELDS


def _count_objects(message: pb.ModelInferRequest) -> int:
    """Count protobuf's objects, as far as a request can have many of them."""
    count = len(message.inputs) + len(message.outputs) + len(message.parameters) + len(message.raw_input_contents)
    count += sum(len(tensor.parameters) for tensor in message.inputs)
    return count + sum(len(tensor.parameters) for tensor in message.outputs)


def _count_fields(data: bytes) -> int:
    """Count the fields of a request, of its inputs and of its outputs."""
    pieces = split(data)
    inner = [p.body for p in pieces if p.kind == DELIMITED and p.number in (_INPUTS, _OUTPUTS)]
    return len(pieces) + sum(len(split(body)) for body in inner)


class PrefixTarget:
    """`PrefixCache`: a template from one request must read the next request like the parser does.

    An input consists of two requests. The first follows its size in four bytes.
    """

    name = "prefixes"

    def __init__(self, service: Service) -> None:
        self._service = service

    def seeds(self) -> list[bytes]:
        chance = random.Random(1)
        return [_pair(request, with_other_values(request, chance)) for request in valid_requests({}, 1)]

    def mutate(self, data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        """Mutate both requests in the same way, or only the second."""
        first, second = _parts(data)
        plain = [_parts(other)[0] for other in others[:20]]
        seed = chance.getrandbits(32)
        if chance.random() < 0.6:
            first = mutate_request(first, plain, random.Random(seed))
        second = mutate_request(second, plain, random.Random(seed))
        return _pair(first, second)

    def read(self, data: bytes) -> None:
        first, second = _parts(data)
        prefixes = PrefixCache(allow_non_finite=False)
        try:
            prefixes.add(first, *self._service.accept(first))
        except ServeError:
            return
        for payload in (first, second):
            found = prefixes.recognise(payload)
            checked = None if found is None else found.prefix.read(payload)
            if found is None or checked is None:
                continue  # it is parsed
            served, expected = self._service.accept(payload)
            assert served is found[0].served
            assert (checked.batch, checked.sizes, checked.outputs) == (expected.batch, expected.sizes, expected.outputs)
            assert (checked.longest, checked.steps) == (expected.longest, expected.steps)
            assert pb.ModelInferRequest.FromString(found[1]).id == expected.id
            assert list(checked.inputs) == list(expected.inputs)
            for name, array in expected.inputs.items():
                assert np.array_equal(checked.inputs[name], array)


def _pair(first: bytes, second: bytes) -> bytes:
    return struct.pack("<I", len(first)) + first + second


def _parts(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:4], "little")
    return data[4 : 4 + size], data[4 + size :]
