"""The fast path's upper limit: `python -m benchmarks.peers.constant RESPONSE` responds with a file's bytes.

Its rate is the highest that gRPC, the fast path's loop and the machine allow for a server that does nothing else.
"""

import sys
from concurrent import futures
from pathlib import Path
from typing import Any

from rnnserve.server import choose_polling

choose_polling()  # before the import of grpc, as `rnnserve serve` does

import grpc  # noqa: E402

from rnnserve.server.connections.byte_budget import ByteBudget  # noqa: E402
from rnnserve.server.fast_path.calls import ArrivedRequest  # noqa: E402
from rnnserve.server.fast_path.fast_path import FastPath  # noqa: E402


class _Constant:
    """Responds to every request on arrival, so that no work is left."""

    def __init__(self, response: bytes) -> None:
        self._response = response

    def take(self, arrived: list[ArrivedRequest]) -> None:
        for call in arrived:
            call.answer(self._response)

    def take_large(self, call: ArrivedRequest) -> None:
        call.answer(self._response)

    def work(self) -> bool:
        return False

    def nap_seconds(self, _: int) -> float:
        return 0.0


def main(file: str) -> None:
    """Serve until the process is terminated."""
    response = Path(file).read_bytes()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    handler: Any = _Constant(response)  # in place of a dispatcher
    path = FastPath(server, "/inference.GRPCInferenceService/ModelInfer", handler, ByteBudget(256 << 20))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    path.start()
    print(f"gRPC on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
