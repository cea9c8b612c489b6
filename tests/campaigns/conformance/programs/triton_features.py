"""Checks of tritonclient alone, over gRPC and over HTTP."""

from typing import Any

from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs import v2_features
from campaigns.conformance.programs.arrays import same
from campaigns.conformance.programs.reporting import feature
from campaigns.conformance.programs.v2_calls import MODEL, TEXT, client, refused, walk

__all__ = ["refusal"]


def refusal(error: BaseException) -> tuple[str, str] | None:
    """Status and message of a client's exception, or None for others."""
    if isinstance(error, InferenceServerException) and error.status():
        return error.status().removeprefix("StatusCode."), error.message()
    return None


@feature("parameters")
def parameters() -> None:
    v2_features.parameters()
    try:
        client().infer(MODEL, walk()[0], parameters={"sequence_id": 3})  # reserved: refused by the client itself
    except InferenceServerException:
        return
    raise AssertionError("the client takes a reserved parameter")


@feature("error")
def errors() -> None:
    v2_features.errors()
    refused(lambda: client().infer(MODEL, walk()[0], model_version="7"), "404", "7")
    files: Any = {"file:1/model.onnx": b"x"}
    refused(lambda: client("explicit").load_model(TEXT["model"], config="{}", files=files), "501")
    same(client().infer(MODEL, walk()[0], model_version="1").as_numpy("logits"), walk()[1])
