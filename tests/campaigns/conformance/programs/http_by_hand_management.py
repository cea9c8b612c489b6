"""HTTP by hand: what the server is, what it serves, what it has done, and what may be changed."""

from campaigns.conformance.programs.http_by_hand import MODEL, TEXT, Session, asked, refused, walk
from campaigns.conformance.programs.reporting import feature


@feature("live")
def live() -> None:
    assert Session().get("/v2/health/live") == {"live": True}


@feature("ready")
def ready() -> None:
    session = Session()
    assert session.get("/v2/health/ready") == {"ready": True}
    for path in (f"/v2/models/{MODEL}/ready", f"/v2/models/{MODEL}/versions/1/ready"):
        assert session.get(path) == {"name": MODEL, "ready": True}
    refused(lambda: session.get("/v2/models/unknown/ready"), "404", "unknown")


@feature("server-metadata")
def server_metadata() -> None:
    said = Session().get("/v2")
    assert said["name"] == "rnnserve"
    assert said["extensions"]


@feature("models")
def models() -> None:
    assert set(Session().get("/v2/models")["models"]) >= {MODEL, TEXT["model"]}


@feature("model-metadata")
def model_metadata() -> None:
    first = Session().get(f"/v2/models/{MODEL}")["inputs"][0]
    assert (first["name"], first["datatype"], first["shape"]) == ("input", "FP32", [-1, -1, 2]), first
    refused(lambda: Session().get("/v2/models/unknown"), "404", "unknown")


@feature("model-config")
def model_config() -> None:
    config = Session().get(f"/v2/models/{MODEL}/config")
    assert (config["name"], config["max_batch_size"]) == (MODEL, 0)


@feature("statistics")
def statistics() -> None:
    session = Session()
    session.post(f"/v2/models/{MODEL}/infer", asked(walk()))
    (found,) = session.get(f"/v2/models/{MODEL}/stats")["model_stats"]
    assert found["inference_count"] > 0
    assert {stats["name"] for stats in session.get("/v2/models/stats")["model_stats"]} >= {MODEL, TEXT["model"]}


@feature("index")
def index() -> None:
    states = {model["name"]: model["state"] for model in Session().post("/v2/repository/index", {"ready": True})}
    assert states[MODEL] == "READY"


@feature("load")
def load() -> None:
    session, name = Session("explicit"), TEXT["model"]
    refused(lambda: session.get(f"/v2/models/{name}/ready"), "503")
    assert session.post(f"/v2/repository/models/{name}/load", {}) == {"name": name, "load": True}
    assert session.get(f"/v2/models/{name}/ready")["ready"] is True
    assert session.post(f"/v2/repository/models/{name}/unload", {}) == {"name": name, "unload": True}
    refused(lambda: session.get(f"/v2/models/{name}/ready"), "503")
    refused(lambda: session.post("/v2/repository/models/unknown/load", {}), "404", "unknown")


@feature("load-closed")
def load_closed() -> None:
    Session().post(f"/v2/repository/models/{MODEL}/load", {})


@feature("load-config")
def load_config() -> None:
    body = {"parameters": {"config": '{"backend": "onnxruntime"}'}}
    Session("explicit").post(f"/v2/repository/models/{TEXT['model']}/load", body)


@feature("metrics")
def metrics() -> None:
    sent = Session().send("GET", "/metrics")
    assert sent.headers["content-type"].startswith("text/plain")
    lines = sent.content.decode().splitlines()
    assert any(line.startswith("rnnserve_requests_total{") and f'model="{MODEL}"' in line for line in lines)
