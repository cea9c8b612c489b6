"""The blocking client."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import grpc
import numpy.typing as npt

from rnnserve.client.base_client import ClientBase, Deadline
from rnnserve.client.classification import Classification
from rnnserve.client.errors import ClientError, from_rpc_error
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.predictions import Prediction
from rnnserve.client.remote_calls import OperationSteps, Pause, RemoteCall
from rnnserve.client.row_inputs import InputsLike
from rnnserve.client.sessions import Session, StateForm
from rnnserve.client.tensors import Array
from rnnserve.client.tls_diagnosis import explain_connection_failure

__all__ = ["Client"]

T = TypeVar("T")


class Client(ClientBase[grpc.Channel]):
    """Client for servers of the Open Inference Protocol. Its methods block until the response has arrived.

    A client holds one connection to each server. It connects on first use, and again after a loss. Create one client
    per process and keep it: threads may share it. With several servers, requests go in turn to each server that reports
    that it is serving.

    If a server responds UNAVAILABLE, the client sends the request again, to the next server: up to three times within
    the timeout, as long as few requests fail. It retries the steps of a session until the timeout. Any other error is
    raised at once. Sessions whose state the server keeps (`state` is "server") use only the first server that responds,
    and each of their steps is sent once.

    Every method may raise a `ClientError` and takes a `timeout` in seconds for the whole operation: None for the
    client's default, `math.inf` for no limit. If only one side uses TLS, or a side rejects the other's certificate,
    every method raises `InvalidRequest`.

    Example:
        from rnnserve.client import Client

        with Client("127.0.0.1:8001") as client:
            results = client.classify("direction_simple", [[(-1, -1), (-1, 1), (1, 1)], [(1, 1), (-1, 1)]])
            print([result.label for result in results])  # ['clockwise', 'counter-clockwise']
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Calls that other threads are still waiting for raise `Cancelled`."""
        for channel in self._close():
            channel.close()

    def predict(
        self,
        model: str,
        sequences: InputsLike,
        outputs: Sequence[str] = (),
        *,
        continue_from: Sequence[Mapping[str, Array] | None] | None = None,
        version: str = "",
        timeout: float | None = None,
    ) -> list[Prediction]:
        """Run any model on rows of any sizes, using only the model's metadata.

        The client pads the rows with zeros, adds their lengths, and cuts each result to its row's length. If the model
        is safe to pad, rows of different lengths share a request. Otherwise only rows of equal size do, or each row is
        sent alone. A long list becomes several requests, one after the other.

        Numbers are converted to the model's datatype if their values stay the same (3.0 as an integer, True as 1).
        Floats may be rounded to floats of fewer digits. The client requests the model's metadata once, and caches them
        until a call fails or another version responds.

            client.predict("sentiment", [[5, 17, 3], [8, 2]])                        # token ids
            client.predict("translator", {"source": [[5, 3]], "target": [[1, 7, 2]]})  # several inputs
            client.predict("policy", [[0.1, 0.5], [0.0, 0.2]])                       # one step of each row

        To continue sequences later, pass the results of their first part, which contain the final states:
            first = client.predict(model, beginnings)
            second = client.predict(model, continuations, continue_from=first)

        Args:
            model: The model's name.
            sequences: A list with one entry for each row: lists of numbers or arrays, of any lengths. Each entry has
                all axes of the input except the batch axis, such as (sequence, features). Alternatively, one array with
                all axes of the input, in the model's order. If the model requires several inputs, pass a dict of them
                by name. It may also contain initial states (None for a row without an earlier part), and the lengths of
                rows that are already padded.
            outputs: Names of the outputs to return, or empty for all outputs.
            continue_from: For each row an earlier result whose final states it continues from, or None for a new row.
                You can't continue a model without states, or a bidirectional model.
            version: The model's version, or empty for the server's choice.
            timeout: Seconds for all requests together.

        Returns:
            One prediction for each row, in the same order: a dict of arrays by output name, without the batch axis, in
            the model's dtype. Axes with lengths are cut to the row's own length.

        Raises:
            InvalidRequest: The rows do not match the model, or a number does not fit its datatype. The message contains
                the details.
        """
        return self._run(self._operations.predict(model, sequences, outputs, continue_from, version), timeout)

    def classify(
        self,
        model: str,
        sequences: InputsLike,
        *,
        continue_from: Sequence[Mapping[str, Array] | None] | None = None,
        version: str = "",
        timeout: float | None = None,
    ) -> list[Classification]:
        """Classify rows of any sizes: like `predict`, with the softmax of the output (batch, classes).

        That output is the one whose last axis is named "classes", or `logits` if the server does not name axes.

        To continue a sequence later, pass the `outputs` of its first part:
            first = client.classify(model, [points[:10]])
            second = client.classify(model, [points[10:]], continue_from=[first[0].outputs])

        Args:
            model: The model's name.
            sequences: The sequences, as in `predict`. For an empty list, no request is sent.
            continue_from: As in `predict`.
            version: The model's version, or empty for the server's choice.
            timeout: Seconds for all requests together.

        Returns:
            One classification per sequence, in the same order.

        Raises:
            InvalidRequest: The sequences or states do not match the model. The message contains the details.
        """
        return self._run(self._operations.classify(model, sequences, continue_from, version), timeout)

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
    ) -> Session[Prediction]: ...

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
    ) -> Session[list[Prediction]]: ...

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
    ) -> Session[Any]:
        """Begin a session: a sequence sent step by step, where each step continues from the one before.

            with client.session("policy") as session:
                action = session.step(observation)["action"]

        The state travels with the requests and does not depend on the connection, so a session survives the loss of its
        server. The client sends the step again, to the same server or another (`Client(["a:8001", "b:8001"])`). On
        servers of the same kind, each result is the same as for the whole sequence at once, bit for bit. All steps go
        to the model version that handled the first step.

        Args:
            model: The model's name.
            outputs: Names of the outputs that `step` returns, or empty for all outputs except the final states.
            rows: Number of sequences to step together, or None for a single sequence.
            state: How to keep the state. "carried" sends the final states back as initial states, with any server that
                serves the model. "sealed" sends an encrypted token that only servers with the same key can read.
                "server" leaves the states in the server, and the session ends if the server does. None chooses sealed
                if the server offers it, or else carried, or server if the states aren't part of the model's interface.
            continue_from: An earlier result with the final states from which the session begins, or one for each row.
                None for zeros.
            version: The model's version, or empty for the server's choice.
            timeout: Seconds for each step with all of its attempts, or None for the client's default.

        Raises:
            InvalidRequest: An argument is invalid. Raised at the start of the `with` block, or by the first step, if
                the model has no states or cannot continue because it is bidirectional.
            Unimplemented: `state` is "sealed" but the server has no key. Raised at the start of the `with` block.
        """
        return Session(self._run, self._operations, model, outputs, rows, state, continue_from, version, timeout)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        outputs: Sequence[str] = (),
        *,
        version: str = "",
        timeout: float | None = None,
    ) -> dict[str, Array]:
        """Send tensors unchanged in one request, and return the response's tensors. Works for any model.

        Args:
            model: The model's name.
            inputs: Arrays of any shape, by name. Only the server checks them. The dtype determines the datatype:
                float32 becomes FP32, a list of floats FP64, text and bytes BYTES.
            outputs: Names of the requested tensors, or empty for all outputs.
            version: The model's version, or empty for the server's choice.
            timeout: Seconds.

        Returns:
            Arrays by name.
        """
        return self._run(self._operations.infer(model, inputs, outputs, version), timeout)

    def metadata(self, model: str, *, version: str = "", timeout: float | None = None) -> ModelMetadata:
        """Return a model's metadata."""
        return self._run(self._operations.metadata(model, version), timeout)

    def is_live(self, *, timeout: float | None = None) -> bool:
        """Return whether the server is live. False if no server can be reached."""
        return self._run(self._operations.is_live(), timeout)

    def is_ready(self, model: str = "", *, version: str = "", timeout: float | None = None) -> bool:
        """Return whether a model is ready, or all models if none is named. False if no server can be reached."""
        return self._run(self._operations.is_ready(model, version), timeout)

    def _run(self, steps: OperationSteps[T], timeout: float | None) -> T:
        deadline = self._deadline(timeout)
        answer: Any = None
        failed: ClientError | None = None
        try:
            while True:
                call = steps.send(answer) if failed is None else steps.throw(failed)
                answer, failed = None, None
                try:
                    answer = self._answer(call, deadline)
                except grpc.RpcError as error:
                    failed = explain_connection_failure(self._endpoint, from_rpc_error(error))
                    failed.__cause__ = error
                except ClientError as error:
                    failed = error
        except StopIteration as done:
            result: T = done.value
            return result

    def _answer(self, call: RemoteCall | Pause, deadline: Deadline) -> Any:  # noqa: ANN401 - a message, or None for a pause
        if isinstance(call, RemoteCall):
            return self._send(call, deadline)
        self._check_pause(call, deadline)
        time.sleep(call.seconds)
        return None

    def _open(self, stays: bool) -> grpc.Channel:
        return self._endpoint.open_channel(self._options, self._addresses, repeats=not stays, stays=stays)
