"""Ids of sequences where all clients of a front have one connection to the server: each client has its own.

A server keeps the ids of its connections apart, so that two clients that both take 1000 do not meet. Of a front
elsewhere it sees one connection. So the front sends a key with each request that names a sequence and has none, one for
each connection of a client, which no client can guess.
"""

import hashlib
import secrets
import zlib

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import SEQUENCE_ID, SEQUENCE_KEY

__all__ = ["keep_ids_apart", "place_of_sequence"]

_SECRET = secrets.token_bytes(32)


def keep_ids_apart(request: pb.ModelInferRequest, client: str) -> None:
    """Give a request of a sequence the key of its client's connection, where it has none.

    Args:
        request: Message to the server.
        client: Name of the client's connection.
    """
    if client and SEQUENCE_ID in request.parameters and SEQUENCE_KEY not in request.parameters:
        digest = hashlib.blake2b(client.encode(), key=_SECRET, digest_size=24)
        request.parameters[SEQUENCE_KEY].string_param = digest.hexdigest()


def place_of_sequence(request: pb.ModelInferRequest) -> int:
    """Give a number by which a request's sequence finds its server among several: the same for all its requests."""
    words = [str(request.parameters[name]) for name in (SEQUENCE_ID, SEQUENCE_KEY) if name in request.parameters]
    return zlib.crc32("\0".join((request.model_name, *words)).encode())
