"""Where gRPC reads from sockets: on the thread that waits for requests, the lane's, not on one of its own.

By default grpcio's listeners read on threads of an event engine, which hands each event to the thread that waits for
it: two wake-ups more a request. Its older listeners, still there, let waiting threads read by themselves. Measured
A B A B on 2 cores: one request at a time takes 0.82 times as long, 4 to 64 connections with one request each get 1.2 to
1.5 times as many answers, 1,000 connections 1.3 times as many, busy or among 1,000 idle ones.

grpcio decides when it is first imported, so importing this module comes before. It changes nothing where grpcio is
imported already, where its experiments have been chosen by `GRPC_EXPERIMENTS`, or where it no longer knows the choice.
"""

import importlib.util
import mmap
import os
import sys
from pathlib import Path

__all__: list[str] = []

_EXPERIMENT = "event_engine_listener"


def _is_known() -> bool:
    """Whether grpcio's library has heard of the choice: of others it complains on standard error."""
    spec = importlib.util.find_spec("grpc")
    if spec is None or spec.origin is None:
        return False
    for library in Path(spec.origin).parent.glob("_cython/cygrpc*"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_EXPERIMENT.encode()) >= 0:
                return True
    return False


if "grpc" not in sys.modules and "GRPC_EXPERIMENTS" not in os.environ and _is_known():
    os.environ["GRPC_EXPERIMENTS"] = f"-{_EXPERIMENT}"
