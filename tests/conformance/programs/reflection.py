"""grpc_requests, a client that knows no proto: it asks the server for its descriptors, and sends dictionaries."""

import base64
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from grpc_requests import Client

from conformance.programs.arrays import same, walk_batch
from conformance.programs.reporting import PLAN, feature, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]
SERVICE = "inference.GRPCInferenceService"


def ask(
    method: str,
    request: dict[str, Any] | list[dict[str, Any]] | None = None,
    server: str = "plain",
    service: str = SERVICE,
    **more: Any,
) -> Any:
    """Call a method; `more` is of grpcio: `timeout`, `metadata`."""
    return Client(PLAN["servers"][server]).request(service, method, request or {}, **more)


def walk(index: int = 0, **more: Any) -> dict[str, Any]:
    """A request with a walk in raw contents, as protobuf's JSON has them."""
    points = np.array([CLASSIFIER["walks"][index]], np.float32)
    return {
        "model_name": MODEL,
        "inputs": [{"name": "input", "datatype": "FP32", "shape": list(points.shape)}],
        "outputs": [{"name": "logits"}],
        "raw_input_contents": [base64.b64encode(points.tobytes()).decode()],
        **more,
    }


def batch_of(points: np.ndarray, lengths: np.ndarray | None = None) -> dict[str, Any]:
    """A request of walks: points (batch, sequence, 2) float32, lengths (batch) int64."""
    arrays = {"input": points} if lengths is None else {"input": points, "lengths": lengths}
    datatypes = {"input": "FP32", "lengths": "INT64"}
    return walk(
        inputs=[
            {"name": name, "datatype": datatypes[name], "shape": list(array.shape)} for name, array in arrays.items()
        ],
        raw_input_contents=[base64.b64encode(array.tobytes()).decode() for array in arrays.values()],
    )


def logits_of(response: dict[str, Any]) -> np.ndarray:
    raw = base64.b64decode(response["raw_output_contents"][0])
    return np.frombuffer(raw, np.float32).reshape([int(size) for size in response["outputs"][0]["shape"]])


def refused(call: Callable[[], Any], status: str, *words: str) -> Any:
    """Check that a call is refused with a status and with a message that has all the words; returns the error."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code().name == status, error
        for word in words:
            assert word in error.details(), error
        return error
    raise AssertionError(f"expected {status}")


def wrong_shape() -> dict[str, Any]:
    sent = walk()
    sent["inputs"][0]["shape"] = [1, 1, 3]
    return sent


@feature("reflection")
def reflection() -> None:
    client = Client(PLAN["servers"]["plain"])
    assert {SERVICE, "grpc.health.v1.Health"} <= set(client.service_names), client.service_names
    assert len(client.service(SERVICE).method_names) == 20


@feature("live")
def live() -> None:
    assert ask("ServerLive")["live"]


@feature("ready")
def ready() -> None:
    assert ask("ServerReady")["ready"]
    assert ask("ModelReady", {"name": MODEL})["ready"]
    assert not ask("ModelReady", {"name": "unknown"}).get("ready", False)


@feature("server-metadata")
def server_metadata() -> None:
    assert ask("ServerMetadata")["name"] == "rnnserve"


@feature("model-metadata")
def model_metadata() -> None:
    assert ask("ModelMetadata", {"name": MODEL})["inputs"][0]["shape"] == ["-1", "-1", "2"]


@feature("model-config")
def model_config() -> None:
    assert ask("ModelConfig", {"name": MODEL})["config"]["name"] == MODEL


@feature("infer-raw")
def infer() -> None:
    same(logits_of(ask("ModelInfer", walk())), [CLASSIFIER["logits"][0]])


@feature("infer-typed")
def infer_typed() -> None:
    points = CLASSIFIER["walks"][0]
    tensor = {
        "name": "input",
        "datatype": "FP32",
        "shape": [1, len(points), 2],
        "contents": {"fp32_contents": np.ravel(points).tolist()},
    }
    request = {"model_name": MODEL, "inputs": [tensor], "outputs": [{"name": "logits"}]}
    same(logits_of(ask("ModelInfer", request)), [CLASSIFIER["logits"][0]])


@feature("infer-integers")
def infer_integers() -> None:
    row = TEXT["rows"][0]
    tensor = {"name": "tokens", "datatype": "INT64", "shape": [1, len(row)], "contents": {"int64_contents": row}}
    same(logits_of(ask("ModelInfer", {"model_name": TEXT["model"], "inputs": [tensor]})), [TEXT["logits"][0]])


@feature("outputs")
def outputs() -> None:
    response = ask("ModelInfer", walk(outputs=[{"name": "h_n"}, {"name": "logits"}]))
    assert [output["name"] for output in response["outputs"]] == ["h_n", "logits"]


@feature("id")
def request_id() -> None:
    assert ask("ModelInfer", walk(id="mine"))["id"] == "mine"


@feature("batch")
def batch() -> None:
    for rows in (1, 2, 7, 64):
        points, lengths, logits = walk_batch(rows)
        same(logits_of(ask("ModelInfer", batch_of(points, lengths))), logits)


@feature("lengths")
def padded() -> None:
    points, lengths, logits = walk_batch(4)
    same(logits_of(ask("ModelInfer", batch_of(points, lengths))), logits)


@feature("classification")
def classification() -> None:
    wanted = [{"name": "logits", "parameters": {"classification": {"int64_param": 1}}}]
    raw = base64.b64decode(ask("ModelInfer", walk(outputs=wanted))["raw_output_contents"][0])
    best = int(np.argmax(CLASSIFIER["logits"][0]))
    assert raw[4:].decode().split(":")[1:] == [str(best), CLASSIFIER["labels"][best]]


@feature("timeout")
def timeout() -> None:
    enough = walk(parameters={"timeout": {"int64_param": 10_000_000}})
    same(logits_of(ask("ModelInfer", enough)), [CLASSIFIER["logits"][0]])
    short = walk(parameters={"timeout": {"int64_param": 1}})
    refused(lambda: ask("ModelInfer", short), "UNAVAILABLE", "Request timeout expired")


@feature("priority")
def priority() -> None:
    request = walk(parameters={"priority": {"uint64_param": 1}})
    same(logits_of(ask("ModelInfer", request)), [CLASSIFIER["logits"][0]])


@feature("parameters")
def parameters() -> None:
    request = walk(parameters={"mine": {"string_param": "a"}})
    same(logits_of(ask("ModelInfer", request)), [CLASSIFIER["logits"][0]])


@feature("error")
def errors() -> None:
    refused(lambda: ask("ModelInfer", walk(model_name="unknown")), "NOT_FOUND", "unknown")
    refused(lambda: ask("ModelInfer", wrong_shape()), "INVALID_ARGUMENT", '"input"', "features")


@feature("error-details")
def error_details() -> None:
    error = refused(lambda: ask("ModelInfer", wrong_shape()), "INVALID_ARGUMENT")
    assert b"inputs[0].shape" in dict(error.trailing_metadata())["grpc-status-details-bin"]


@feature("deadline")
def deadline() -> None:
    points = np.zeros((500, 4096, 2), np.float32)
    refused(lambda: ask("ModelInfer", batch_of(points), timeout=0.03), "DEADLINE_EXCEEDED")
    same(logits_of(ask("ModelInfer", walk(), timeout=20)), [CLASSIFIER["logits"][0]])


@feature("headers")
def headers() -> None:
    response = ask("ModelInfer", walk(), metadata=(("my-header", "a"), ("my-bytes-bin", b"\x00\xff")))
    same(logits_of(response), [CLASSIFIER["logits"][0]])


@feature("compression")
def compression() -> None:
    client = Client(PLAN["servers"]["plain"], compression=grpc.Compression.Gzip)
    same(logits_of(client.request(SERVICE, "ModelInfer", walk())), [CLASSIFIER["logits"][0]])


@feature("tls")
def tls() -> None:
    client = Client(PLAN["servers"]["tls"], ssl=True, credentials={"root_certificates": PLAN["ca"]})
    same(logits_of(client.request(SERVICE, "ModelInfer", walk())), [CLASSIFIER["logits"][0]])


@feature("keepalive")
def keepalive() -> None:
    options = [("grpc.keepalive_time_ms", 200), ("grpc.keepalive_permit_without_calls", 1)]
    client = Client(PLAN["servers"]["plain"], channel_options=options)
    assert client.request(SERVICE, "ServerLive", {})["live"]
    time.sleep(1.0)
    assert client.request(SERVICE, "ServerLive", {})["live"]


@feature("stream")
def stream() -> None:
    client = Client(PLAN["servers"]["plain"])
    count = len(CLASSIFIER["walks"])
    requests = [walk(index % count, id=str(index)) for index in range(20)]
    answers = list(client.request(SERVICE, "ModelStreamInfer", requests))
    assert len(answers) == len(requests)
    for index, answer in enumerate(answers):
        assert answer["infer_response"]["id"] == str(index)
        same(logits_of(answer["infer_response"]), [CLASSIFIER["logits"][index % count]])


@feature("stream-error")
def stream_error() -> None:
    answers = list(ask("ModelStreamInfer", [walk(model_name="unknown"), walk()]))
    assert "unknown" in answers[0]["error_message"]
    same(logits_of(answers[1]["infer_response"]), [CLASSIFIER["logits"][0]])


@feature("stream-end")
def stream_end() -> None:
    def ask_stream() -> None:
        list(ask("ModelStreamInfer", [walk(model_name="unknown")], metadata=(("triton_grpc_error", "true"),)))

    refused(ask_stream, "NOT_FOUND", "unknown")


@feature("stream-final")
def stream_final() -> None:
    (answer,) = ask("ModelStreamInfer", [walk()])
    assert answer["infer_response"]["parameters"]["triton_final_response"]["bool_param"]


@feature("sequence-stream")
def sequence_stream() -> None:
    answers = list(ask("ModelStreamInfer", steps(CLASSIFIER["walks"][0], 70041)))
    same(logits_of(answers[-1]["infer_response"]), [CLASSIFIER["logits"][0]])


@feature("sequence-unary")
def sequence_unary() -> None:
    client = Client(PLAN["servers"]["plain"])
    for step in steps(CLASSIFIER["walks"][3], 70042):
        answer = client.request(SERVICE, "ModelInfer", step)
    same(logits_of(answer), [CLASSIFIER["logits"][3]])


@feature("statistics")
def statistics() -> None:
    (stats,) = ask("ModelStatistics", {"name": MODEL})["model_stats"]
    assert int(stats["inference_count"]) > 0


@feature("index")
def index() -> None:
    assert {model["name"]: model["state"] for model in ask("RepositoryIndex")["models"]}[MODEL] == "READY"


@feature("load")
def load() -> None:
    ask("RepositoryModelLoad", {"model_name": TEXT["model"]}, "explicit")
    assert ask("ModelReady", {"name": TEXT["model"]}, "explicit")["ready"]
    ask("RepositoryModelUnload", {"model_name": TEXT["model"]}, "explicit")
    assert not ask("ModelReady", {"name": TEXT["model"]}, "explicit").get("ready", False)


@feature("load-closed")
def load_closed() -> None:
    ask("RepositoryModelLoad", {"model_name": MODEL})


@feature("load-config")
def load_config() -> None:
    ask("RepositoryModelLoad", {"model_name": MODEL, "parameters": {"config": {"string_param": "{}"}}}, "explicit")


@feature("memory-status")
def memory_status() -> None:
    for kind in ("System", "Cuda"):
        assert not ask(f"{kind}SharedMemoryStatus").get("regions")
        ask(f"{kind}SharedMemoryUnregister")


@feature("memory-register")
def memory_register() -> None:
    ask("SystemSharedMemoryRegister", {"name": "region", "key": "/region", "byte_size": 64})


@feature("trace-settings")
def trace_settings() -> None:
    assert ask("TraceSetting")["settings"]["trace_level"]["value"] == ["OFF"]


@feature("trace-change")
def trace_change() -> None:
    ask("TraceSetting", {"settings": {"trace_level": {"value": ["TIMESTAMPS"]}}})


@feature("log-settings")
def log_settings() -> None:
    assert ask("LogSettings")["settings"]["log_error"]["bool_param"]


@feature("log-change")
def log_change() -> None:
    ask("LogSettings", {"settings": {"log_verbose_level": {"uint32_param": 3}}})


@feature("health-check")
def health_check() -> None:
    assert ask("Check", {"service": MODEL}, service="grpc.health.v1.Health")["status"] == "SERVING"
    refused(lambda: ask("Check", {"service": "unknown"}, service="grpc.health.v1.Health"), "NOT_FOUND")


@feature("health-watch")
def health_watch() -> None:
    for name, status in ((MODEL, "SERVING"), ("unknown", "SERVICE_UNKNOWN")):
        answers = ask("Watch", {"service": name}, service="grpc.health.v1.Health")
        assert next(iter(answers))["status"] == status


@feature("health-list")
def health_list() -> None:
    assert ask("List", service="grpc.health.v1.Health")["statuses"][MODEL]["status"] == "SERVING"


def steps(points: list[list[float]], sequence: int) -> list[dict[str, Any]]:
    """The requests of a sequence, a point each."""
    return [
        walk(
            inputs=[{"name": "input", "datatype": "FP32", "shape": [1, 1, 2]}],
            raw_input_contents=[base64.b64encode(np.array(values, np.float32).tobytes()).decode()],
            parameters={
                "sequence_id": {"int64_param": sequence},
                "sequence_start": {"bool_param": step == 0},
                "sequence_end": {"bool_param": step == len(points) - 1},
            },
        )
        for step, values in enumerate(points)
    ]


if __name__ == "__main__":
    run()
