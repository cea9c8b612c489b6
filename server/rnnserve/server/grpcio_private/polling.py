"""How gRPC reads from sockets: on the thread that waits for requests, the lane's, instead of a thread of its own.

By default grpcio's listeners read on threads of an event engine, which hands each event to the thread that waits for
it: two wake-ups more a request. Its older listeners, still there, let waiting threads read by themselves. Measured
A B A B on 2 cores: one request at a time takes 0.82 times as long, 4 to 64 connections with one request each get 1.2 to
1.5 times as many answers, 1,000 connections 1.3 times as many, busy or among 1,000 idle ones.

Without the lane it is left as it is: grpcio's thread gains less, 1.15 times the requests one at a time and none with 64
in flight. And it is told of the first of many calls only when it has read all that has arrived: of 27 calls with
100,000 header fields each, 24 had been read before the first was refused, and a client beside them waited for 1.6 s,
not 0.16.
"""

import importlib.util
import mmap
import os
import sys
from pathlib import Path

__all__ = ["choose_polling"]

_EXPERIMENT = "event_engine_listener"


def choose_polling() -> bool:
    """Choose the older listeners, for this process and the processes that it starts.

    grpcio decides when it is first imported, so this is called before; it sets the environment variable
    `GRPC_EXPERIMENTS`. It changes nothing where grpcio is imported already, where its experiments have been chosen by
    `GRPC_EXPERIMENTS`, or where grpcio no longer has the choice.

    Returns:
        Whether it has chosen.
    """
    if "grpc" in sys.modules or "GRPC_EXPERIMENTS" in os.environ or not _is_known():
        return False
    os.environ["GRPC_EXPERIMENTS"] = f"-{_EXPERIMENT}"
    return True


def _is_known() -> bool:
    """Whether grpcio's library contains the choice's name: it reports unknown ones on standard error."""
    spec = importlib.util.find_spec("grpc")
    if spec is None or spec.origin is None:
        return False
    for library in Path(spec.origin).parent.glob("_cython/cygrpc*"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_EXPERIMENT.encode()) >= 0:
                return True
    return False
