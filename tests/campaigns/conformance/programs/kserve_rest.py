"""KServe's SDK over HTTP: its `InferenceRESTClient`."""

import ssl
from typing import Any

import httpx
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig

from campaigns.conformance.programs import v2_over_http
from campaigns.conformance.programs.kserve_client import KServe, output, right
from campaigns.conformance.programs.reporting import PLAN, feature
from campaigns.conformance.programs.v2_calls import MODEL, Way, client, run_as, walk, wanted

__all__ = ["v2_over_http"]


class Client(KServe):
    """The client, with the address of one of the plan's servers."""

    def __init__(self, server: str = "plain") -> None:
        super().__init__()
        self.address = f"{'https' if server == 'tls' else 'http'}://{PLAN['http'][server]}"
        verify = ssl.create_default_context(cafile=PLAN["ca"]) if server == "tls" else True
        self.client = InferenceRESTClient(RESTConfig(protocol="v2", verify=verify, timeout=60))

    async def send(self, request: InferRequest, **more: Any) -> InferResponse:
        answer = await self.client.infer(self.address, request, model_name=request.model_name, **more)
        assert isinstance(answer, InferResponse)
        return answer

    def is_server_live(self) -> bool:
        return self.run(self.client.is_server_live(self.address))

    def is_server_ready(self) -> bool:
        return self.run(self.client.is_server_ready(self.address))

    def is_model_ready(self, model: str, _: str = "") -> bool:
        return self.run(self.client.is_model_ready(self.address, model))

    def close(self) -> None:
        self.run(self.client.close())


@feature("infer-json")
def infer_json() -> None:
    right(client().infer(MODEL, walk(binary=False)[0], outputs=wanted("logits", binary=False)))


@feature("infer-binary")
def infer_binary() -> None:
    right(client().infer(MODEL, walk()[0], binary_data_output=True))
    right(client().infer(MODEL, walk()[0], outputs=wanted("logits")))


@feature("headers")
def headers() -> None:
    asked, came = client(), dict[str, str]()
    sent = {"headers": {"X-Request-Id": "mine"}, "response_headers": came}
    asked.run(asked.send(InferRequest(MODEL, walk()[0]), **sent))
    assert came["x-request-id"] == "mine"


def refusal(error: BaseException) -> tuple[str, str] | None:
    """Status and message of a client's exception, or None for others."""
    return (str(error.response.status_code), str(error)) if isinstance(error, httpx.HTTPStatusError) else None


if __name__ == "__main__":
    run_as(Way(Client, InferInput, output, refusal, of_binary="binary_data"))
