"""The client that blocks until the answer is there."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc
import numpy.typing as npt

from rnnserve.client.answers import Classification
from rnnserve.client.base import ClientBase
from rnnserve.client.errors import from_rpc_error
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.operations import Steps
from rnnserve.client.sequences import Sequences, States
from rnnserve.client.tensors import Array

__all__ = ["Client"]

T = TypeVar("T")


class Client(ClientBase[grpc.Channel]):
    """Asks a server that speaks the Open Inference Protocol, and waits for the answer.

    One client holds one connection, made when it is first needed and made again when it is lost. It is meant to live
    as long as its process, and threads may share it. Nothing is retried behind your back: errors are raised at once,
    and all that gRPC itself repeats are requests that never reached the server's application.

    Every method raises a `ClientError` (see `rnnserve.client.errors` for the tree) and takes a `timeout` in seconds
    for all of the operation: None for the client's own, `math.inf` for no limit.

    Example:
        with Client("127.0.0.1:8001") as client:
            for result in client.classify("direction_simple", [[(0, 0), (0, 1), (1, 1)], [(0, 0), (1, 0)]]):
                print(result.label, result.probabilities)
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls of other threads that still wait raise `Cancelled`."""
        channel = self._take_channel()
        if channel is not None:
            channel.close()

    def classify(
        self,
        model: str,
        sequences: Sequences,
        *,
        version: str = "",
        h_0: States | None = None,
        c_0: States | None = None,
        states: bool = True,
        output: bool = False,
        timeout: float | None = None,
    ) -> list[Classification]:
        """Classify sequences, which may have different lengths.

        They are padded and sent together, with `lengths` beside them; a long list becomes several requests, one after
        the other. What the model takes is asked of the server once and remembered until a call fails or another
        version answers.

        To go on with a sequence later, pass the states behind its first part as the initial states of the next:
            first = client.classify(model, [points[:10]])
            whole = client.classify(model, [points[10:]], h_0=[first[0].h_n])
        An LSTM needs `c_0=[first[0].c_n]` too. A bidirectional model's states cannot be carried on: its backward
        direction would have had to see the end first.

        Args:
            model: The model's name.
            sequences: A list of arrays (length, features), or one array (batch, sequence, features). None at all is
                fine, and asks the server nothing.
            version: The model's version; empty for the one that the server prefers.
            h_0: Initial hidden states, zeros where None: one array (layers * directions, batch, hidden), in that
                order as in PyTorch, or a list with a (layers * directions, hidden) or None for each sequence.
            c_0: Likewise, an LSTM's initial cell states.
            states: Whether to ask for `h_n` and `c_n`.
            output: Whether to ask for `output`.
            timeout: Seconds for all requests together.

        Returns:
            One classification for each sequence, in their order.

        Raises:
            InvalidRequest: Something about the sequences or states does not suit the model; the message says what.
        """
        steps = self._operations.classify(
            model, sequences, version=version, h_0=h_0, c_0=c_0, states=states, output=output
        )
        return self._run(steps, timeout)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        outputs: Sequence[str] = (),
        *,
        version: str = "",
        timeout: float | None = None,
    ) -> dict[str, Array]:
        """Send tensors as they are in one request, and return the answer's: for any model, checked by the server only.

        Args:
            model: The model's name.
            inputs: Arrays by name. Datatypes follow dtypes: float32 is FP32, lists of floats FP64, text and bytes
                BYTES.
            outputs: Names of the tensors wanted; all of them where none is named.
            version: The model's version; empty for the one that the server prefers.
            timeout: Seconds.

        Returns:
            Arrays by name.
        """
        return self._run(self._operations.infer(model, inputs, outputs, version), timeout)

    def metadata(self, model: str, *, version: str = "", timeout: float | None = None) -> ModelMetadata:
        """Ask what a model takes and gives."""
        return self._run(self._operations.metadata(model, version), timeout)

    def is_live(self, *, timeout: float | None = None) -> bool:
        """Ask whether a server is up; False where none can be reached."""
        return self._run(self._operations.is_live(), timeout)

    def is_ready(self, model: str = "", *, version: str = "", timeout: float | None = None) -> bool:
        """Ask whether a model is ready, or every model where none is named; False where no server can be reached."""
        return self._run(self._operations.is_ready(model, version), timeout)

    def _run(self, steps: Steps[T], timeout: float | None) -> T:
        budget = self._budget(timeout)
        try:
            call = next(steps)
            while True:
                try:
                    answer = self._start(call, budget)
                except grpc.RpcError as error:
                    raised = from_rpc_error(error)
                    raised.__cause__ = error
                    call = steps.throw(raised)
                else:
                    call = steps.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    def _open(self) -> grpc.Channel:
        return grpc.insecure_channel(self._target, options=self._options)
