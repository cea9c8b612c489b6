"""tritonclient over HTTP: what the server is, what it serves, what it has done, and what may be changed."""

from campaigns.conformance.programs.reporting import feature
from campaigns.conformance.programs.triton_http_calls import MODEL, TEXT, client, refused, walk


@feature("live")
def live() -> None:
    assert client().is_server_live()


@feature("ready")
def ready() -> None:
    asked = client()
    assert asked.is_server_ready()
    assert asked.is_model_ready(MODEL)
    assert asked.is_model_ready(MODEL, "1")
    assert not asked.is_model_ready("unknown")


@feature("server-metadata")
def server_metadata() -> None:
    assert client().get_server_metadata()["name"] == "rnnserve"


@feature("model-metadata")
def model_metadata() -> None:
    asked = client()
    first = asked.get_model_metadata(MODEL)["inputs"][0]
    assert (first["name"], first["datatype"], first["shape"]) == ("input", "FP32", [-1, -1, 2]), first
    refused(lambda: asked.get_model_metadata("unknown"), "404", "unknown")


@feature("model-config")
def model_config() -> None:
    config = client().get_model_config(MODEL)
    assert config["name"] == MODEL
    assert [tensor["name"] for tensor in config["output"]] == ["logits", "h_n"]


@feature("statistics")
def statistics() -> None:
    asked = client()
    asked.infer(MODEL, walk()[0])
    (found,) = asked.get_inference_statistics(MODEL)["model_stats"]
    assert found["inference_count"] > 0
    assert found["inference_stats"]["success"]["ns"] > 0
    assert {stats["name"] for stats in asked.get_inference_statistics()["model_stats"]} >= {MODEL, TEXT["model"]}


@feature("index")
def index() -> None:
    states = {model["name"]: model["state"] for model in client().get_model_repository_index()}
    assert states[MODEL] == "READY"


@feature("load")
def load() -> None:
    asked, name = client("explicit"), TEXT["model"]
    assert not asked.is_model_ready(name)
    asked.load_model(name)
    assert asked.is_model_ready(name)
    asked.unload_model(name)
    assert not asked.is_model_ready(name)
    refused(lambda: asked.load_model("unknown"), "404", "unknown")


@feature("load-closed")
def load_closed() -> None:
    client().load_model(MODEL)


@feature("load-config")
def load_config() -> None:
    asked = client("explicit")
    refused(lambda: asked.load_model(TEXT["model"], config="{}", files={"file:1/model.onnx": b"x"}), "501")
    asked.load_model(TEXT["model"], config='{"backend": "onnxruntime"}')
