"""Which of several servers keeps which sequence, while servers come and go."""

import collections
import hashlib
from collections.abc import Sequence

from rnnserve.client.remote_calls import Place
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import SEQUENCE_END, SEQUENCE_START
from rnnserve.web.upstream.sequence_ids import place_of_sequence

__all__ = ["SequencePlaces"]

_MOST = 65_536
"""Sequences whose server is kept. Of others it follows from their ids, as long as the servers are the same ones."""


class SequencePlaces:
    """Gives each sequence one of the servers that there are when it begins, and keeps it there."""

    def __init__(self) -> None:
        self._places: collections.OrderedDict[int, Place] = collections.OrderedDict()

    def place_of(self, request: pb.ModelInferRequest, addresses: Sequence[str]) -> Place:
        """Give the place of a request's sequence.

        Args:
            request: Request that names a sequence.
            addresses: Addresses of the servers that there are now.
        """
        number = place_of_sequence(request)
        place = self._places.pop(number, None)
        if place is None or _is_told(request, SEQUENCE_START):
            # By rendezvous: another front with the same servers, or this one started again, chooses the same.
            place = Place(number, max(addresses, key=lambda address: _rank(number, address)))
        if not _is_told(request, SEQUENCE_END):
            self._places[number] = place
            if len(self._places) > _MOST:
                self._places.popitem(last=False)
        return place


def _is_told(request: pb.ModelInferRequest, name: str) -> bool:
    return name in request.parameters and request.parameters[name].bool_param


def _rank(number: int, address: str) -> bytes:
    return hashlib.blake2b(f"{number} {address}".encode(), digest_size=8).digest()
