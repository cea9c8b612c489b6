"""tritonclient over gRPC: the repository, statistics, shared memory and settings."""

from campaigns.conformance.programs.reporting import feature
from campaigns.conformance.programs.triton_grpc_calls import MODEL, TEXT, client, refused, walk


@feature("statistics")
def statistics() -> None:
    asked = client()
    asked.infer(MODEL, walk()[0])
    (found,) = asked.get_inference_statistics(MODEL).model_stats
    assert found.inference_count > 0
    assert found.inference_stats.success.ns > 0
    assert {stats.name for stats in asked.get_inference_statistics().model_stats} >= {MODEL, TEXT["model"]}


@feature("index")
def index() -> None:
    states = {model.name: model.state for model in client().get_model_repository_index().models}
    assert states[MODEL] == "READY"


@feature("load")
def load() -> None:  # simple_grpc_model_control.py
    asked, name = client("explicit"), TEXT["model"]
    assert not asked.is_model_ready(name)
    asked.load_model(name)
    assert asked.is_model_ready(name)
    asked.unload_model(name)
    assert not asked.is_model_ready(name)
    refused(lambda: asked.load_model("unknown"), "NOT_FOUND", "unknown")


@feature("load-closed")
def load_closed() -> None:
    client().load_model(MODEL)


@feature("load-config")
def load_config() -> None:
    client("explicit").load_model(TEXT["model"], config='{"backend": "onnxruntime"}')


@feature("memory-status")
def memory_status() -> None:
    asked = client()
    assert not asked.get_system_shared_memory_status().regions
    assert not asked.get_cuda_shared_memory_status().regions
    asked.unregister_system_shared_memory()
    asked.unregister_cuda_shared_memory()


@feature("memory-register")
def memory_register() -> None:  # simple_grpc_shm_client.py
    asked = client()
    refused(lambda: asked.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64), "UNIMPLEMENTED")
    asked.register_system_shared_memory("region", "/region", 64)


@feature("trace-settings")
def trace_settings() -> None:
    asked = client()
    assert asked.get_trace_settings().settings["trace_level"].value == ["OFF"]
    assert asked.get_trace_settings(MODEL).settings["trace_level"].value == ["OFF"]


@feature("trace-change")
def trace_change() -> None:
    client().update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


@feature("log-settings")
def log_settings() -> None:
    assert client().get_log_settings().settings["log_error"].bool_param


@feature("log-change")
def log_change() -> None:
    client().update_log_settings({"log_verbose_level": 3})
