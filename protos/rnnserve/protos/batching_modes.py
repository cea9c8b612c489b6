"""Batching modes in words."""

from collections.abc import Mapping
from types import MappingProxyType

from rnnserve.protos import manifest_pb2

__all__ = ["BATCHING_MODES"]

BATCHING_MODES: Mapping[int, str] = MappingProxyType(
    {
        manifest_pb2.BATCHING_PADDED: "padded: requests of different lengths share a batch",
        manifest_pb2.BATCHING_JOINED: "joined: only requests of equal sizes share a batch",
        manifest_pb2.BATCHING_ALONE: "alone: no requests share a batch",
    }
)
"""By the manifest's number."""
