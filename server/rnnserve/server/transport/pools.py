"""The pools of threads that answer calls the public way: how many threads and calls each may have."""

import dataclasses
import functools

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.errors import QueueFull, TooManyCalls, Unsupported
from rnnserve.server.settings import Settings
from rnnserve.server.transport.received_bytes import ReceivedBytes
from rnnserve.server.transport.stream_pool import StreamPool
from rnnserve.server.transport.thread_pool import CallPool
from rnnserve.server.transport.watchdog import Watchdog

__all__ = ["INFERENCE_THREADS", "Pools"]

INFERENCE_THREADS = MAX_REQUESTS
"""As many ModelInfer requests can be in one batch on the public way, since each waits on a thread of its own."""

_CONTROL_CALLS = 1024
"""Calls of methods other than ModelInfer and ModelStreamInfer that may be in hand. They answer at once. Beyond it:
RESOURCE_EXHAUSTED at once, for a call of the connection with the most."""

_CONTROL_THREADS, _CONTROL_OF_CONNECTION, _CONTROL_AT_WORK = 64, 32, 16
"""Threads for these; how many of them calls of one connection may have, so that calls whose messages do not arrive keep
no one from being answered; and how many answer at once: each takes Python's lock from the lane."""

_CONTROL_HOPELESS = 0.25
"""Seconds after which a call without a message, which is small, is ended where others wait for its thread."""

_LOADING_THREADS, _LOADING_CALLS = 4, 64
"""Threads for methods that load models, and calls of these in hand: changes are made one after another, so that most
threads wait. Beyond it: RESOURCE_EXHAUSTED."""

_WATCHES = 256
"""Watches of the server's health: each keeps a thread, since grpcio has a send wait for its client. Beyond it:
UNIMPLEMENTED, so that clients which balance take the server for healthy and go by what their calls say."""

_STREAM_THREADS = 256
"""Streams (calls of ModelStreamInfer) on the public transport: each keeps a thread. The lane needs none. Beyond it:
RESOURCE_EXHAUSTED."""

_REFLECTIONS = 16
"""Streams of server reflection: each keeps a thread. Beyond it: RESOURCE_EXHAUSTED."""

_STREAM_HOPELESS = 1.0
"""Seconds after which one of these whose next message has not arrived is ended, where others were refused."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pools:
    """The threads of each kind of call.

    Attributes:
        control: Methods that answer at once.
        loading: Methods that load models.
        watches: Watches of the server's health.
        reflections: Streams of server reflection.
        inference: ModelInfer on the public transport.
        streams: ModelStreamInfer on the public transport.
        received: Messages that all of them have received.
    """

    control: CallPool
    loading: CallPool
    watches: CallPool
    reflections: CallPool
    inference: CallPool
    streams: CallPool
    received: ReceivedBytes

    @property
    def all(self) -> tuple[CallPool, ...]:
        """Each of them."""
        return (
            self.control, self.loading, self.watches, self.reflections, self.inference, self.streams,
        )  # fmt: skip

    @classmethod
    def of(cls, settings: Settings) -> "Pools":
        """Make them, without threads yet but one that looks at all of them."""
        watchdog, received = Watchdog(), ReceivedBytes()
        new_pool = functools.partial(CallPool, watchdog=watchdog, received=received)
        return cls(
            control=new_pool(
                _CONTROL_THREADS,
                _CONTROL_CALLS,
                "control",
                TooManyCalls("methods other than ModelInfer", _CONTROL_CALLS),
                of_connection=_CONTROL_OF_CONNECTION,
                at_work=_CONTROL_AT_WORK,
                hopeless_seconds=_CONTROL_HOPELESS,
            ),
            loading=new_pool(
                _LOADING_THREADS,
                _LOADING_CALLS,
                "loading",
                TooManyCalls("RepositoryModelLoad and Unload", _LOADING_CALLS),
            ),
            watches=new_pool(_WATCHES, _WATCHES, "watch", _too_many_watches(), hopeless_seconds=_STREAM_HOPELESS),
            reflections=new_pool(
                _REFLECTIONS,
                _REFLECTIONS,
                "reflection",
                TooManyCalls("ServerReflectionInfo", _REFLECTIONS),
                hopeless_seconds=_STREAM_HOPELESS,
            ),
            inference=new_pool(
                INFERENCE_THREADS,
                settings.max_queue + MAX_REQUESTS,
                "inference",
                QueueFull("this server", settings.max_queue),
                max_wait=settings.max_wait,
            ),
            streams=StreamPool(min(_STREAM_THREADS, settings.max_streams), watchdog, received),
            received=received,
        )

    def hold(self) -> None:
        """Hold answers back of methods that are served alike on both transports, until `release`."""
        self.control.hold()
        self.loading.hold()

    def release(self) -> None:
        """Let these be sent."""
        self.control.release()
        self.loading.release()

    def shutdown(self) -> None:
        """End the threads when they have done what they have."""
        for pool in self.all:
            pool.shutdown(wait=False)


def _too_many_watches() -> Unsupported:
    """Make the error of one more watch.

    gRPC's clients take a server whose watch is UNIMPLEMENTED for healthy, and go by the statuses of their calls. Of any
    other status they make a server to which they send nothing (gRPC's proposal A17).
    """
    return Unsupported(f"{_WATCHES} watches are open already: there is no further one; ask Check")
