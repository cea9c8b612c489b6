"""KServe's SDK, called like tritonclient: the common part of its clients for gRPC and HTTP."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from kserve import InferInput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput

from campaigns.conformance.programs import v2_features
from campaigns.conformance.programs.arrays import same
from campaigns.conformance.programs.reporting import feature
from campaigns.conformance.programs.v2_calls import CLASSIFIER, MODEL, client, walk

__all__ = ["Answer", "KServe", "output", "right", "v2_features"]

logging.disable()  # the clients log each error that they raise


class Answer:
    """A response."""

    def __init__(self, response: InferResponse) -> None:
        self._response = response

    def get_response(self) -> dict[str, Any]:
        return {"id": self._response.id, "outputs": [{"name": each.name} for each in self._response.outputs]}

    def as_numpy(self, name: str) -> Any:
        found = self._response.get_output_by_name(name)
        assert found is not None
        return found.as_numpy()


def output(name: str, *, class_count: int = 0, **more: Any) -> RequestedOutput:
    """An output that is asked for."""
    return RequestedOutput(name, {"classification": class_count} if class_count else more)


class KServe:
    """A client whose calls wait. Its loop runs within them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, call: Awaitable[Any]) -> Any:
        """Wait for a call."""
        return self._loop.run_until_complete(call)

    async def send(self, request: InferRequest, **more: Any) -> InferResponse:
        """Send a request."""
        raise NotImplementedError

    def infer(
        self,
        model: str,
        inputs: Sequence[InferInput],
        *,
        outputs: Sequence[RequestedOutput] = (),
        request_id: str = "",
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Answer:
        """Send a request. Further arguments become parameters."""
        said: dict[str, Any] = {"parameters": {**more, **(parameters or {})}}
        said |= {"request_outputs": list(outputs)} if outputs else {}
        return Answer(self.run(self.send(InferRequest(model, list(inputs), request_id=request_id, **said))))


def right(answer: Answer, index: int = 0) -> None:
    """Check the answer to a walk."""
    same(answer.as_numpy("logits"), [CLASSIFIER["logits"][index]])


@feature("infer-async")
def infer_async() -> None:
    asked, known = client(), len(CLASSIFIER["walks"])

    async def ask() -> list[InferResponse]:
        requests = (InferRequest(MODEL, walk(index % known)[0]) for index in range(200))
        return await asyncio.gather(*map(asked.send, requests))

    for index, response in enumerate(asked.run(ask())):
        right(Answer(response), index % known)
