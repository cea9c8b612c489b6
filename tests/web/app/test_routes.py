"""Paths, methods, and the answer of each of the other routes."""

import grpc
import pytest

from kit.gateways import FakeUpstream, ask
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.routes import all_routes
from rnnserve.web.errors import error_of_status


@pytest.fixture
def upstream():
    return FakeUpstream()


def asked(upstream):
    return [(method, request) for method, request, _ in upstream.asked]


def test_unknown_paths_and_methods_are_refused(upstream):
    """No path is redirected: a trailing slash is another path."""
    for path in ("/v2/", "/v2//models", "/v2/models/m/", "/v2/models/m/nothing", "/V2", "/v2/models//infer"):
        reply = ask(upstream, path)
        assert (reply.status, reply.error) == (404, "Not Found"), path
    for path in ("/v2%2fmodels", "/v2/m%6fdels", "/v2/models/../health/live", "/v2/./models", "*"):
        assert ask(upstream, path).status == 404, path
    for path in ("/v2/models/m", "/v2/health/live", "/v2/models/stats"):
        reply = ask(upstream, path, b"", method="DELETE")
        assert (reply.status, "GET" in reply.headers["allow"]) == (405, True)
    assert not upstream.asked


def test_encoded_slash_stays_part_of_the_name(upstream):
    for path in ("/v2/models/a%2Fb", "/v2/models/a%5Cb", "/v2/models/a%00", "/v2/models/%ff", "/v2/models/%2e%2e"):
        assert ask(upstream, path).status == 404, path
    assert [request.name for _, request in asked(upstream)] == ["a/b", "a\\b", "a\0", "\ufffd", ".."]


def test_head_and_options_are_answered(upstream):
    reply = ask(upstream, "/v2", method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert ask(upstream, "/v2/models", method="OPTIONS").headers["allow"] == "GET, HEAD"


def test_every_route_passes_on_the_servers_refusal(upstream):
    refusal = error_of_status(grpc.StatusCode.UNAVAILABLE, "told")
    upstream.answers = dict.fromkeys(pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name, refusal)
    for route in all_routes():
        if not route.path.startswith("/v2") or route.name == "stream":
            continue
        path = route.path.format(model="m", version="1", repository="r", region="g")
        body = b'{"inputs": []}' if route.name == "infer" else b"{}"
        for method in route.handlers:
            reply = ask(upstream, path, body if method == "POST" else None, method=method)
            assert (reply.status, reply.error) == (503, "told"), path


def test_health_routes_return_json(upstream):
    assert ask(upstream, "/v2/health/live").json == {"live": True}
    assert ask(upstream, "/v2/health/ready").json == {"ready": True}
    assert ask(upstream, "/v2/models/m/versions/1/ready").json == {"name": "m", "ready": True}
    assert asked(upstream)[-1] == ("ModelReady", pb.ModelReadyRequest(name="m", version="1"))


def test_not_ready_has_a_retry_after_header(upstream):
    upstream.answers = {"ServerReady": pb.ServerReadyResponse(), "ModelReady": pb.ModelReadyResponse()}
    for path in ("/v2/health/ready", "/v2/models/m/ready"):
        reply = ask(upstream, path)
        assert (reply.status, reply.headers["retry-after"], reply.json["ready"]) == (503, "1", False)
    upstream.service.models.clear()
    assert ask(upstream, "/v2/models/m/ready").status == 404


def test_models_route_lists_the_ready_models(upstream):
    index = pb.RepositoryIndexResponse()
    for name, version in (("b", "1"), ("a", "1"), ("a", "2")):
        index.models.add(name=name, version=version, state="READY")
    upstream.answers["RepositoryIndex"] = index
    assert ask(upstream, "/v2/models").json == {"models": ["a", "b"]}
    assert asked(upstream) == [("RepositoryIndex", pb.RepositoryIndexRequest(ready=True))]


def test_post_from_another_site_is_refused(upstream):
    body, path = b"", "/v2/repository/models/m/load"
    assert ask(upstream, path, body, headers={"Origin": "http://evil.example"}).status == 403
    assert ask(upstream, path, body, headers={"Origin": "null"}).status == 403
    assert not upstream.asked
    upstream.answers["RepositoryModelLoad"] = pb.RepositoryModelLoadResponse()
    assert ask(upstream, path, body, headers={"Origin": "http://localhost"}).status == 200


def test_metadata_has_the_names_of_axes(upstream):
    said = ask(upstream, "/v2/models/m").json
    assert said["inputs"][0] == {
        "name": "input",
        "datatype": "FP32",
        "shape": [-1, -1, 2],
        "parameters": {"axes": "batch, sequence, features"},
    }


def test_statistics_and_config_keep_64_bit_integers(upstream):
    """Protobuf's own JSON writes 64-bit integers as text and leaves out zeros."""
    statistics = pb.ModelStatisticsResponse()
    statistics.model_stats.add(name="m", version="1", inference_count=2**60)
    statistics.model_stats[0].inference_stats.success.count = 3
    upstream.answers["ModelStatistics"] = statistics
    (said,) = ask(upstream, "/v2/models/m/stats").json["model_stats"]
    assert (said["inference_count"], said["execution_count"]) == (2**60, 0)
    assert said["inference_stats"] == {"success": {"count": 3, "ns": 0}}
    config = pb.ModelConfigResponse()
    config.config.name = "m"
    config.config.input.add(name="input", data_type="TYPE_FP32", dims=[-1, 2])
    upstream.answers["ModelConfig"] = config
    said = ask(upstream, "/v2/models/m/config").json
    assert said["max_batch_size"] == 0
    assert (said["input"][0]["data_type"], said["input"][0]["dims"]) == ("TYPE_FP32", [-1, 2])


def test_repository_index_is_returned(upstream):
    index = pb.RepositoryIndexResponse()
    index.models.add(name="a", version="1", state="UNAVAILABLE", reason="why")
    upstream.answers["RepositoryIndex"] = index
    reply = ask(upstream, "/v2/repository/index", b"")
    assert reply.json == [{"name": "a", "version": "1", "state": "UNAVAILABLE", "reason": "why"}]
    ask(upstream, "/v2/repository/r/index", b'{"ready": true}')
    assert asked(upstream)[-1][1] == pb.RepositoryIndexRequest(repository_name="r", ready=True)
    assert ask(upstream, "/v2/repository/index", b'{"ready": 1}').status == 400


def test_models_are_loaded_and_unloaded_with_parameters(upstream):
    upstream.answers |= {
        "RepositoryModelLoad": pb.RepositoryModelLoadResponse(),
        "RepositoryModelUnload": pb.RepositoryModelUnloadResponse(),
    }
    assert ask(upstream, "/v2/repository/models/m/load", b"").json == {"name": "m", "load": True}
    body = b'{"parameters": {"config": "{}", "file:1/model.onnx": "AAE=", "unload_dependents": true}}'
    assert ask(upstream, "/v2/repository/models/m/unload", body).json == {"name": "m", "unload": True}
    parameters = asked(upstream)[-1][1].parameters
    assert set(parameters) == {"config", "file:1/model.onnx", "unload_dependents"}
    assert parameters["unload_dependents"].bool_param
    for wrong in (b'{"parameters": 1}', b"[]"):
        assert ask(upstream, "/v2/repository/models/m/load", wrong).status == 400
