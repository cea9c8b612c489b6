"""The OpenAPI document describes the routes. `make conformance` compares it with answers."""

import re
from urllib.parse import quote

import pytest

from kit.gateways import FakeUpstream, ask, walk_model
from rnnserve.web.app.routes import all_routes


@pytest.fixture(scope="module")
def document():
    return ask(FakeUpstream(), "/openapi.json").json


def test_document_has_exactly_the_routes(document):
    described = {
        (path, method.upper()) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert described == {(route.path, method) for route in all_routes() for method in route.handlers}
    tags = {path: operation["tags"] for path, item in document["paths"].items() for method, operation in item.items() if method != "parameters"}  # fmt: skip # noqa: E501
    assert tags == {route.path: [route.name] for route in all_routes()}


def test_every_reference_resolves(document):
    for reference in re.findall(r"'#/([^']+)'", str(document)):
        place = document
        for name in reference.split("/"):
            place = place[name]


def test_path_pattern_matches_the_accepted_names(document):
    (name,) = document["paths"]["/v2/models/{model}"]["parameters"]
    pattern = re.compile(document["components"]["parameters"][name["$ref"].rpartition("/")[2]]["schema"]["pattern"])
    upstream = FakeUpstream()
    for good in ("m", "direction_simple", "ä b", "..a", "a.b", "%41"):
        upstream.service.models[good] = walk_model()
        assert pattern.search(good)
        assert ask(upstream, f"/v2/models/{quote(good)}").status == 200
    for bad in ("", ".", "..", "a/b", "a\\b", "a\0", "a\nb", "\x7f"):
        assert not pattern.search(bad)
        assert ask(upstream, f"/v2/models/{quote(bad, safe='')}").status == 404
