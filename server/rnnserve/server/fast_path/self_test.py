"""A unary and a streamed request that the fast path sends itself at each start, before it answers anybody."""

import contextlib
import tempfile
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.errors import StartError
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.fast_path import FastPath
from rnnserve.server.fast_path.grpcio_core import unusable
from rnnserve.server.protocol.responses import encode_stream_response

__all__ = ["SelfTest"]

_METHOD, _STREAM_METHOD = "/rnnserve.SelfTest/Echo", "/rnnserve.SelfTest/EchoStream"
_PAYLOADS = (b"first", b"second")
_SECONDS = 5.0
"""Seconds that the answers may take; usual are some milliseconds."""


class _Echo:
    """Answers each request with its own bytes. Implements `CallHandler`."""

    def nap_seconds(self, _: int, /) -> float:
        return 0.0

    def take(self, arrived: list[ArrivedRequest]) -> None:
        for request in arrived:
            request.answer(request.payload)

    def take_large(self, _: ArrivedRequest) -> None:
        raise AssertionError

    def work(self) -> bool:
        return False


class SelfTest:
    """Runs on a thread, while the server prepares."""

    def __init__(self) -> None:
        """Begin."""
        self._error: StartError | None = None
        self._thread = threading.Thread(target=self._run, name="self-test", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Wait for the end.

        Raises:
            StartError: If an answer was wrong, or did not come.
        """
        self._thread.join(3 * _SECONDS)
        if self._thread.is_alive():
            raise unusable("its self-test did not end")
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            _try_fast_path()
        except StartError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - whatever another grpcio does
            self._error = unusable(f"its self-test failed: {error!r}")


def _try_fast_path() -> None:
    with tempfile.TemporaryDirectory(prefix="rnnserve-") as folder, contextlib.ExitStack() as stack:
        address = f"unix:{Path(folder) / 's'}"
        server = grpc.server(futures.ThreadPoolExecutor(1, "self-test"))
        server.add_insecure_port(address)
        path = FastPath(server, _METHOD, _Echo(), ByteBudget(1 << 20), stream_method=_STREAM_METHOD, max_streams=2)
        server.start()
        stack.callback(server.stop, 0)
        path.start()
        stack.callback(path.stop_accepting)
        channel: Any = stack.enter_context(grpc.insecure_channel(address))
        try:
            answer = channel.unary_unary(_METHOD)(_PAYLOADS[0], timeout=_SECONDS)
            answers = list(channel.stream_stream(_STREAM_METHOD)(iter(_PAYLOADS), timeout=_SECONDS))
        except grpc.RpcError as error:
            raise path.failure or TimeoutError(f"no answer, {error.code().name}") from None
    if answer != _PAYLOADS[0] or answers != [encode_stream_response(payload) for payload in _PAYLOADS]:
        raise unusable("its self-test got wrong answers")
