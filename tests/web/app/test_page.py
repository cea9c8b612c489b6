"""The page at `/`: its routes, its headers, its files, and the figures that it shows, without a browser."""

import asyncio
import json
import re

import grpc
import pytest

from kit.gateways import FakeUpstream, ask
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.application import Application
from rnnserve.web.app.page import CONTENT_SECURITY_POLICY
from rnnserve.web.app.routes import all_routes
from rnnserve.web.errors import error_of_status
from rnnserve.web.limits import Limits

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@pytest.fixture
def upstream():
    made = FakeUpstream()
    index = pb.RepositoryIndexResponse()
    index.models.add(name="m", version="1", state="READY")
    index.models.add(name="broken", version="2", state="UNAVAILABLE", reason="model.onnx is missing")
    made.answers["RepositoryIndex"] = index
    return made


def test_page_has_a_strict_policy_and_nothing_inline(upstream):
    reply = ask(upstream, "/")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; ")) == POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", reply.body.decode())
    assert re.findall(r"<script[^>]*>(.*?)</script>", reply.body.decode(), re.DOTALL) == [""]


def test_every_linked_file_is_served_locally(upstream):
    """Follows every link, script and import from the page on."""
    seen, left = set(), ["/"]
    while left:
        path = left.pop()
        seen.add(path)
        reply = ask(upstream, path)
        assert reply.status == 200, path
        assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        addresses = re.findall(r"https?://[^\s\"'`]+", reply.body.decode())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path  # the name of a namespace, which nothing loads
        named = re.findall(r'(?:src|href)="(/static/[^"]+)"', reply.body.decode())
        named += [f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', reply.body.decode())]
        left += set(named) - seen - set(left)
    assert {"/static/page.js", "/static/walk.js", "/static/page.css"} <= seen
    kinds = {path: ask(upstream, path).headers["content-type"] for path in seen if path.endswith(".js")}
    assert set(kinds.values()) == {"text/javascript; charset=utf-8"}  # a module of another type is not run


def test_no_other_file_is_served(upstream):
    for name in ("nothing.js", "__init__.py", "application.py", "static"):
        assert ask(upstream, f"/static/{name}").status == 404


def test_models_are_listed_with_an_example_or_the_reason(upstream):
    expected = ask(upstream, "/v2/models/m").json
    said = ask(upstream, "/page/models").json
    (model,) = said["models"]
    assert model["metadata"] == expected
    assert ask(upstream, "/v2/models/m/infer", json.dumps(model["example"]).encode()).status == 200
    assert said["not_serving"] == [
        {"name": "broken", "version": "2", "state": "UNAVAILABLE", "reason": "model.onnx is missing"}
    ]


def test_missing_token_and_missing_server_have_different_statuses(upstream):
    for status, expected in ((grpc.StatusCode.UNAUTHENTICATED, 401), (grpc.StatusCode.UNAVAILABLE, 503)):
        upstream.answers["RepositoryIndex"] = error_of_status(status, "no")
        assert ask(upstream, "/page/models").status == expected


def status_of(upstream, host, server=("127.0.0.1", 8000), path="/", hosts=frozenset()):
    application = Application(upstream, all_routes(), Limits(allowed=hosts))
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"host", host.encode())], "server": server}  # fmt: skip # noqa: E501
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(application(scope, None, send))
    return sent[0]["status"]


def test_host_names_that_rebind_to_this_machine_are_refused(upstream):
    for host in (
        "localhost:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "a.localhost",
        "gpu-box",
        "192.168.0.7",
        "LOCALHOST",
    ):
        assert status_of(upstream, host) == 200, host
    for path in ("/", "/page/models", "/v2/models/m", "/static/page.js"):
        for host in ("evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[::1.", "a" * 400):
            assert status_of(upstream, host, path=path) == 403, (host, path)


def test_allowed_hosts_are_accepted_on_loopback(upstream):
    assert status_of(upstream, "models.example", hosts=frozenset({"models.example"})) == 200
    assert status_of(upstream, "other.example", hosts=frozenset({"models.example"})) == 403
    assert status_of(upstream, "models.example", server=("10.0.0.5", 8000)) == 200
    assert status_of(upstream, "evil.example", server=("::1", 8000)) == 403
