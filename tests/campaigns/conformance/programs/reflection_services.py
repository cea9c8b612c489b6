"""grpc_requests: streams, sequences, the repository, settings, and the service of health checks."""

from grpc_requests import Client

from campaigns.conformance.programs.arrays import same
from campaigns.conformance.programs.reflection_calls import (
    CLASSIFIER,
    MODEL,
    SERVICE,
    TEXT,
    ask,
    logits_of,
    refused,
    steps,
    walk,
)
from campaigns.conformance.programs.reporting import PLAN, feature


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
