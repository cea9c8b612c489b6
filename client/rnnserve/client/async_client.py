"""The client for asyncio: the same methods as `Client`, awaited."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import grpc
import numpy.typing as npt

from rnnserve.client.base_client import ClientBase, Deadline
from rnnserve.client.classification import Classification
from rnnserve.client.errors import ClientError, Unavailable, from_rpc_error
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.predictions import Prediction
from rnnserve.client.remote_calls import OperationSteps, Pause, RemoteCall
from rnnserve.client.row_inputs import InputsLike
from rnnserve.client.sessions import AsyncSession, StateForm
from rnnserve.client.tensors import Array
from rnnserve.client.tls_diagnosis import explain_connection_failure

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient(ClientBase[grpc.aio.Channel]):
    """Client for servers of the Open Inference Protocol that does not block the event loop.

    Methods, arguments and errors are the same as for `Client`. A client belongs to the event loop in which it is first
    used. Any number of calls may run at the same time. If you cancel a task that waits for a call, the call is also
    cancelled on the server.

    Example:
        async with AsyncClient("127.0.0.1:8001") as client:
            first, second = await asyncio.gather(
                client.classify("direction_simple", walks), client.classify("direction_stacked", walks)
            )
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls that other tasks are still waiting for are cancelled."""
        await asyncio.gather(*(channel.close() for channel in self._close()))

    async def predict(
        self,
        model: str,
        sequences: InputsLike,
        outputs: Sequence[str] = (),
        *,
        continue_from: Sequence[Mapping[str, Array] | None] | None = None,
        version: str = "",
        timeout: float | None = None,
    ) -> list[Prediction]:
        """Run any model on rows of any sizes. See `Client.predict`."""
        return await self._run(self._operations.predict(model, sequences, outputs, continue_from, version), timeout)

    async def classify(
        self,
        model: str,
        sequences: InputsLike,
        *,
        continue_from: Sequence[Mapping[str, Array] | None] | None = None,
        version: str = "",
        timeout: float | None = None,
    ) -> list[Classification]:
        """Classify sequences of any lengths. See `Client.classify`."""
        return await self._run(self._operations.classify(model, sequences, continue_from, version), timeout)

    @overload
    def session(
        self,
        model: str,
        outputs: Sequence[str] = (),
        *,
        rows: None = None,
        state: StateForm | None = None,
        continue_from: Mapping[str, Array] | None = None,
        version: str = "",
        timeout: float | None = None,
    ) -> AsyncSession[Prediction]: ...

    @overload
    def session(
        self,
        model: str,
        outputs: Sequence[str] = (),
        *,
        rows: int,
        state: StateForm | None = None,
        continue_from: Sequence[Mapping[str, Array] | None] | None = None,
        version: str = "",
        timeout: float | None = None,
    ) -> AsyncSession[list[Prediction]]: ...

    def session(
        self,
        model: str,
        outputs: Sequence[str] = (),
        *,
        rows: int | None = None,
        state: StateForm | None = None,
        continue_from: Mapping[str, Array] | Sequence[Mapping[str, Array] | None] | None = None,
        version: str = "",
        timeout: float | None = None,
    ) -> AsyncSession[Any]:
        """Begin a session, a sequence sent step by step. See `Client.session`."""
        return AsyncSession(self._run, self._operations, model, outputs, rows, state, continue_from, version, timeout)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        outputs: Sequence[str] = (),
        *,
        version: str = "",
        timeout: float | None = None,
    ) -> dict[str, Array]:
        """Send tensors unchanged in one request. See `Client.infer`."""
        return await self._run(self._operations.infer(model, inputs, outputs, version), timeout)

    async def metadata(self, model: str, *, version: str = "", timeout: float | None = None) -> ModelMetadata:
        """Return a model's metadata."""
        return await self._run(self._operations.metadata(model, version), timeout)

    async def is_live(self, *, timeout: float | None = None) -> bool:
        """Return whether the server is live. False if no server can be reached."""
        return await self._run(self._operations.is_live(), timeout)

    async def is_ready(self, model: str = "", *, version: str = "", timeout: float | None = None) -> bool:
        """Return whether a model is ready, or all models if none is named. False if no server can be reached."""
        return await self._run(self._operations.is_ready(model, version), timeout)

    async def _run(self, steps: OperationSteps[T], timeout: float | None) -> T:
        deadline = self._deadline(timeout)
        answer: Any = None
        failed: ClientError | None = None
        try:
            while True:
                call = steps.send(answer) if failed is None else steps.throw(failed)
                answer, failed = None, None
                try:
                    answer = await self._answer(call, deadline)
                except grpc.RpcError as error:
                    failed = from_rpc_error(error)
                    if isinstance(failed, Unavailable):
                        failed = await asyncio.to_thread(explain_connection_failure, self._endpoint, failed)
                    failed.__cause__ = error
                except ClientError as error:
                    failed = error
        except StopIteration as done:
            result: T = done.value
            return result

    async def _answer(self, call: RemoteCall | Pause, deadline: Deadline) -> Any:  # noqa: ANN401 - as `Client._answer`
        if isinstance(call, RemoteCall):
            if not self._addresses:
                self._addresses = await asyncio.to_thread(self._endpoint.resolve)
            return await self._send(call, deadline)
        self._check_pause(call, deadline)
        await asyncio.sleep(call.seconds)
        return None

    def _open(self, stays: bool) -> grpc.aio.Channel:
        return self._endpoint.open_async_channel(self._options, self._addresses, repeats=not stays, stays=stays)
