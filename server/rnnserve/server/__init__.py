"""Serve artifacts over gRPC. Needs neither torch nor onnx.

::

    from rnnserve.server import Server, Settings

    with Server(Settings(repository=Path("repository"), grpc_port=0)) as server:
        print(server.address)

room                     what it does
=======================  =====================================================================================
`commands/`              `rnnserve serve` and `rnnserve token`
`testing.py`             a server inside a `with`, for the tests of code that uses one
`app.py`                 puts a server together
`transport/`             the gRPC server and its end, health, reflection, the calls with `--plain`
`fast_path/`             the completion queue and the fast way of the requests on it
`workers/`               several processes on one port, and their supervisor
`protocol/`              what each method answers, and the bytes of responses
`repository/`            which versions there are and which serve; loading, load checks, providers
`batching/`              which requests share a run, how they are joined and split, how a run is made and answered
`validation/`            from a request's bytes to checked arrays
`connections/`           bytes in flight, memory, which connections are open, the gateway's private socket
`sockets/`               ports
`process/`               threads, memory and descriptors that the system gives
`access/`                whose calls are answered: tokens, and what each may do
`observing/`             what is told of single requests: lines of the log, and spans
`counting/`              counts that outlive their process, and the text that Prometheus reads
`settings.py`            every option, declared once
`errors.py`              what can go wrong, and the gRPC status of each
`error_texts.py`         what libraries and callers said, made fit for a message
`clock.py`               the one clock of deadlines and durations
=======================  =====================================================================================
=======
Its rooms, each of which imports only rooms below it, are in docs/architecture.md.

Importing this package has no effect and imports neither grpc nor onnxruntime: `Server` and `Settings` are imported at
their first use. A process that wants the faster way of reading sockets calls
`rnnserve.server.choose_polling()` before anything imports grpc, as `rnnserve serve` does.

Threads: `app`.

Door: `__all__`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnserve.server.app import Server
    from rnnserve.server.fast_path.grpcio_core import choose_polling
    from rnnserve.server.settings import Settings

__all__ = ["Server", "Settings", "choose_polling"]

_HOMES = {
    "Server": "rnnserve.server.app",
    "Settings": "rnnserve.server.settings",
    "choose_polling": "rnnserve.server.fast_path.grpcio_core",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
