"""Serve artifacts over gRPC. Needs neither torch nor onnx.

::

    from rnnserve.server import Server, Settings

    with Server(Settings(repository=Path("repository"), grpc_port=0)) as server:
        print(server.address)

docs/explanation/architecture.md lists its packages. Each package imports only packages below it.

Importing this package has no side effects and doesn't import grpc or onnxruntime, because `Server` and `Settings` are
imported at their first use. To read sockets the faster way, call `rnnserve.server.choose_polling()` before any code
imports grpc, as `rnnserve serve` does.

Threads: `app`.

Public: `__all__`.
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
