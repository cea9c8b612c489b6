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
from rnnserve.client.row_inputs import InputsLike, RowsLike
from rnnserve.client.session_operations import StateForm
from rnnserve.client.sessions import Session
from rnnserve.client.tensors import Array
from rnnserve.client.tls_diagnosis import explain_connection_failure

__all__ = ["Client"]

T = TypeVar("T")


class Client(ClientBase[grpc.Channel]):
    """Client for servers of the Open Inference Protocol; its methods block until the answer has arrived.

    A client holds one connection to each server, which it opens on first use and opens again after a loss. It is made
    to live as long as its process, and threads may share it. With several servers, requests go to each in turn that
    says that it serves. A request that is answered UNAVAILABLE is sent again, to the next server, up to three times
    within its timeout, while few fail; the steps of a session as long as the timeout allows. Any other error is raised
    at once. What a server keeps (a session whose `state` is "server") stays with that server, and is sent once.

    Every method may raise a `ClientError` and takes a `timeout` in seconds
    for the whole operation: None for the client's default, `math.inf` for no limit. Where one side speaks TLS and the
    other does not, or a certificate is not accepted, every method raises `InvalidRequest`.

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
        """Close the connection; calls of other threads that are still waiting raise `Cancelled`."""
        for channel in self._channels.close():
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
        """Ask any model about rows of any sizes, from its metadata alone.

        The rows are padded with zeros, their lengths are added, and results end where the rows end. Rows are sent as
        the model can take them: rows of different lengths in one request if the model is safe to pad, else rows of
        equal sizes together or each row alone; a long list becomes several requests, one after the other. Numbers
        become the model's datatype if their values stay the same (3.0 as an integer, True as 1); floats may be rounded
        to floats of fewer digits. The client asks the server for the model's metadata once, and caches it until a call
        fails or another version answers.

            client.predict("sentiment", [[5, 17, 3], [8, 2]])                        # token ids
            client.predict("translator", {"source": [[5, 3]], "target": [[1, 7, 2]]})  # several inputs
            client.predict("policy", [[0.1, 0.5], [0.0, 0.2]])                       # one step of each row

        To continue sequences later, pass the results of their first part, which hold the final states:
            first = client.predict(model, beginnings)
            second = client.predict(model, continuations, continue_from=first)

        Args:
            model: The model's name.
            sequences: One entry for each row, with all axes of the input but the batch, (sequence, features) for
                example; lists of numbers or arrays, of any lengths. Or one array with all axes of the input, in the
                model's order. A model that requires several inputs takes a dict of these by name. Initial states may be
                among them, with None for a row that begins anew, and lengths of rows that are padded already.
            outputs: Names of the outputs to return, all outputs if empty.
            continue_from: One earlier result for each row, from whose final states the row continues, or None for a row
                that starts. A model without states, or a bidirectional one, cannot be continued.
            version: The model's version; empty for the server's choice.
            timeout: Seconds for all requests together.

        Returns:
            One prediction for each row, in the same order: a dict of arrays by output name, without the batch axis, in
            the model's dtype. Axes with lengths are cut to the row's own length.

        Raises:
            InvalidRequest: The rows do not match the model, or a number does not fit its datatype. The message says
                how.
        """
        steps = self._operations.predict(
            model, sequences, version=version, outputs=outputs, continue_from=continue_from
        )
        return self._run(steps, timeout)

    def classify(
        self,
        model: str,
        sequences: InputsLike,
        *,
        version: str = "",
        h_0: RowsLike | None = None,
        c_0: RowsLike | None = None,
        states: bool = True,
        output: bool = False,
        timeout: float | None = None,
    ) -> list[Classification]:
        """Classify rows of any sizes: `predict`, and the softmax of the output (batch, classes).

        The output is the one whose last axis is named "classes"; `logits` where the server names no axes.

        To continue a sequence later, pass the final states of its first part as the initial states of the next part:
            first = client.classify(model, [points[:10]])
            second = client.classify(model, [points[10:]], h_0=[first[0].h_n])
        An LSTM needs `c_0=[first[0].c_n]` too. The states of a bidirectional model cannot be continued: its backward
        direction starts at the end of the sequence.

        Args:
            model: The model's name.
            sequences: The sequences, as in `predict`: for the classifiers of directions, a list of arrays (length,
                features), or one array (batch, sequence, features). An empty list is allowed; then no request is sent.
            version: The model's version; empty for the server's choice.
            h_0: Initial hidden states, zeros if None: one array (layers * directions, batch, hidden), axes in
                PyTorch's order, or a list with one array (layers * directions, hidden) or None per sequence.
            c_0: Initial cell states of an LSTM, of the same form.
            states: Whether to request the final states, `h_n` and `c_n`.
            output: Whether to request `output`.
            timeout: Seconds for all requests together.

        Returns:
            One classification per sequence, in the same order.

        Raises:
            InvalidRequest: The sequences or states do not match the model. The message says how.
        """
        steps = self._operations.classify(
            model, sequences, version=version, h_0=h_0, c_0=c_0, states=states, output=output
        )
        return self._run(steps, timeout)

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
        """Begin a session: a sequence that is sent step by step, each step continuing from the one before.

            with client.session("policy") as session:
                action = session.step(observation)["action"]

        The state travels with the requests and not with the connection, so a session survives the loss of its server:
        the step is sent again, to the same server or another (`Client(["a:8001", "b:8001"])`). Answers are
        those of the whole sequence, bit for bit on servers of one kind. All steps go to the version that answered the
        first one.

        Args:
            model: The model's name.
            outputs: Names of the outputs that `step` returns, all but the final states if empty.
            rows: Number of sequences that are stepped together, or None for a single one.
            state: "carried" for final states that are sent on as initial ones, which any server can do that serves the
                model; "sealed" for a token that only servers with the same key can read; "server" for states that
                the server keeps, which end with it. None for sealed where the server offers it, else carried, or server
                where the states are no part of the model's interface.
            continue_from: An earlier result with the final states from which the session begins, or one for each row;
                None for zeros.
            version: The model's version; empty for the server's choice.
            timeout: Seconds for each step, with all of its attempts; None for the client's default.

        Raises:
            InvalidRequest: An argument is none that a session can have. When the session is entered, or at the first
                step: the model has no states, or cannot be continued because it is bidirectional.
            Unimplemented: `state` is "sealed", and the server has no key; when the session is entered.
        """
        operations = self._session_operations(model, outputs, rows, state, continue_from, version)
        return Session(self._run, operations, is_single=rows is None, timeout=timeout)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        outputs: Sequence[str] = (),
        *,
        version: str = "",
        timeout: float | None = None,
    ) -> dict[str, Array]:
        """Send tensors unchanged in one request, and return the answer's tensors; works for any model.

        Args:
            model: The model's name.
            inputs: Arrays of any shape, by name; only the server checks them. The datatype follows the dtype: float32
                becomes FP32, a list of floats FP64, text and bytes BYTES.
            outputs: Names of the requested tensors, all outputs if empty.
            version: The model's version; empty for the server's choice.
            timeout: Seconds.

        Returns:
            Arrays by name.
        """
        return self._run(self._operations.infer(model, inputs, outputs, version), timeout)

    def metadata(self, model: str, *, version: str = "", timeout: float | None = None) -> ModelMetadata:
        """Return a model's metadata."""
        return self._run(self._operations.metadata(model, version), timeout)

    def is_live(self, *, timeout: float | None = None) -> bool:
        """Return whether the server is live, or False if no server can be reached."""
        return self._run(self._operations.is_live(), timeout)

    def is_ready(self, model: str = "", *, version: str = "", timeout: float | None = None) -> bool:
        """Return whether a model is ready, or all models if none is named, or False if no server can be reached."""
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

    def _answer(self, call: RemoteCall | Pause, deadline: Deadline) -> Any:  # noqa: ANN401 - a message; None for a pause
        if isinstance(call, RemoteCall):
            return self._send(call, deadline)
        self._check_pause(call, deadline)
        time.sleep(call.seconds)
        return None

    def _open(self, addresses: list[str], stays: bool) -> grpc.Channel:
        return self._endpoint.open_channel(self._options, resolved=addresses, repeats=not stays, stays=stays)
