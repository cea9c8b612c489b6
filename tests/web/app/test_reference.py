"""The document says what the routes are, and its examples are requests that models take."""

import json
import re
from urllib.parse import quote

import grpc
import pytest

from kit.fakes import FakeModel
from kit.fronts import FakeUpstream, ask, walk_model
from rnnserve.web.app.example_requests import example_request
from rnnserve.web.app.site import site_routes
from rnnserve.web.app.static_files import CONTENT_SECURITY_POLICY
from rnnserve.web.upstream.statuses import error_of_status


@pytest.fixture
def upstream():
    return FakeUpstream()


def test_every_route_is_in_the_document_and_nothing_else(upstream):
    document = ask(upstream, "/openapi.json").json
    assert document["openapi"] == "3.1.0"
    described = {
        (path, method.upper()) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert described == {(route.path, method) for route in site_routes() for method in route.handlers}
    names = [operation["operationId"] for item in document["paths"].values() for operation in item.values() if "tags" in operation]  # fmt: skip # noqa: E501
    assert len(set(names)) == len(described)


def test_every_answer_and_body_is_described(upstream):
    """But those that are empty, and what is no JSON. Schemathesis compares them with answers: `make conformance`."""
    open_ended = {"system_shared_memory", "cuda_shared_memory"}
    for path, item in ask(upstream, "/openapi.json").json["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            (tag,) = operation["tags"]
            content = operation["responses"]["200"]["content"]
            if "application/json" in content and not (tag in open_ended and method == "post"):
                assert content["application/json"]["schema"], path
            if method == "post" and not (tag in open_ended and path.endswith("unregister")):
                assert operation["requestBody"]["content"]["application/json"]["schema"], path


def test_names_in_paths_are_those_that_are_taken(upstream):
    (name,) = ask(upstream, "/openapi.json").json["paths"]["/v2/models/{model}"]["parameters"]
    pattern = re.compile(name["schema"]["pattern"])
    for good in ("m", "direction_simple", "ä b", "..a", "a.b", "%41"):
        upstream.service.models[good] = walk_model()
        assert pattern.search(good)
        assert ask(upstream, f"/v2/models/{quote(good)}").status == 200
    upstream.asked.clear()
    for bad in ("", ".", "..", "a/b", "a\\b", "a\0", "a\nb", "\x7f"):
        assert not pattern.search(bad)
        assert ask(upstream, f"/v2/models/{quote(bad, safe='')}").status in (400, 404)
    assert not upstream.asked


def test_examples_are_taken(upstream):
    """Of each model that serves, by both routes."""
    paths = ask(upstream, "/openapi.json").json["paths"]
    for path in ("/v2/models/{model}/infer", "/v2/models/{model}/generate"):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        body = json.dumps(content["examples"]["m"]["value"]).encode()
        reply = ask(upstream, path.format(model="m"), body)
        assert reply.status == 200, reply.body
        request = upstream.asked[-1][1]
        assert list(request.inputs[0].shape) == [1, 4, 2]


def test_without_a_server_the_document_has_no_examples(upstream):
    upstream.answers["RepositoryIndex"] = error_of_status(grpc.StatusCode.UNAVAILABLE, "gone")
    assert ask(upstream, "/openapi.json").status == 200
    upstream.answers.clear()
    upstream.service.models.clear()
    assert "MODEL" in ask(upstream, "/docs").body.decode()


@pytest.mark.parametrize(
    ("described", "shape", "data"),
    [
        (("INT64", ("batch", "tokens"), {"low": 5, "high": 7}), [1, 4], [5, 6, 5, 6]),
        (("INT64", ("batch",), {"lengths_of": "sequence"}), [1], [4]),
        (("BOOL", ("batch", ("sequence", 2))), [1, 2], [True, False]),
        (("INT8", ("batch", "time"), {"limits": '{"time": [6, null]}'}), [1, 6], [0, 1, 2, 0, 1, 2]),
        (("INT8", ("batch", "time"), {"limits": '{"time": [1, 2]}'}), [1, 2], [0, 1]),
    ],
)
def test_examples_are_within_bounds(described, shape, data):
    (tensor,) = example_request(FakeModel({"x": described}, {}, dict).describe("m", "1"))["inputs"]
    assert (tensor["shape"], tensor["data"]) == (shape, data)


def test_page_loads_only_its_own_files_and_shows_names_of_models_as_text(upstream):
    name = "<script>\"'&"
    upstream.service.models = {name: walk_model()}
    reply = ask(upstream, "/docs")
    assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    page = reply.body.decode()
    loaded = re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="([^"]*)"', page)
    assert loaded
    for path in loaded:
        assert path.startswith("/static/")
        assert ask(upstream, path).status == 200
    assert "<script>" not in page.replace('<script src="/static/reference.js"', "")
