"""Each route of the protocol as Triton and KServe have it: before both transports, and before servers elsewhere.

Where the two differ, the answers are such that clients of both can use them (docs/clients/grpc-and-http.md).
"""

import contextlib
import http.client
import json
import subprocess
import sys
from typing import NamedTuple

import pytest

from kit.gateways import SETTINGS
from kit.served import served
from kit.waiting import PATIENCE, until

SIMPLE = "direction_simple"
M, V = f"/v2/models/{SIMPLE}", f"/v2/models/{SIMPLE}/versions/1"
WALK = [[-1, -1], [-1, 1], [1, 1], [1, -1]]
BODY = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4, 2], "data": [WALK]}]}
ANSWER = {"model_name", "model_version", "id", "outputs"}
METADATA = {"name", "versions", "platform", "inputs", "outputs", "properties"}


ERROR = {"error"}


@pytest.fixture(scope="module")
def public(repository):
    """A server with --plain, which has no stream for a front: every request is a call."""
    with served(repository, "process", plain=True, **SETTINGS) as process:
        host = process.http_address
        until(lambda: answers(host))
        yield host
        assert "Traceback" not in process.log


@pytest.fixture(scope="module")
def elsewhere(web_server):
    """`rnnserve web` before the port of a server."""
    command = [sys.executable, "-m", "rnnserve.cli", "web", "--http-port", "0"]
    command += ["--upstream", web_server.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.fixture(params=["public", "elsewhere"])
def host(request):
    """Where HTTP is spoken."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def fast_path(web_server):
    return web_server.http_address


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def ask(host, method, path, body=None, **headers):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    with contextlib.closing(http.client.HTTPConnection(host, timeout=PATIENCE)) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, data, named)
        reply = connection.getresponse()
        return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())


def answers(host):
    with contextlib.suppress(OSError):
        return ask(host, "GET", "/v2/health/ready").status == 200


ROUTES = [
    ("GET", "/v2", None, 200, {"name", "version", "extensions"}),
    ("GET", "/v2/health/live", None, 200, {"live"}),
    ("GET", "/v2/health/ready", None, 200, {"ready"}),
    ("GET", "/v2/models", None, 200, {"models"}),
    ("GET", "/v2/models/stats", None, 200, {"model_stats"}),
    *(("GET", of, None, 200, METADATA) for of in (M, V)),
    *(("GET", f"{of}/ready", None, 200, {"name", "ready"}) for of in (M, V)),
    *(("GET", f"{of}/stats", None, 200, {"model_stats"}) for of in (M, V)),
    *(("POST", f"{of}/infer", BODY, 200, ANSWER) for of in (M, V)),
    ("POST", f"/v2/repository/models/{SIMPLE}/load", b"", 200, {"name", "load"}),
    ("POST", f"/v2/repository/models/{SIMPLE}/load", {"parameters": {"config": "{}"}}, 501, ERROR),
    ("POST", "/v2/repository/models/nothing/load", b"", 404, ERROR),
    ("GET", "/v2/models/nothing", None, 404, ERROR),
    ("GET", f"/v2/models/{SIMPLE}/versions/7/ready", None, 404, ERROR),
    ("POST", f"/v2/models/{SIMPLE}/versions/x/infer", BODY, 404, ERROR),
    ("POST", f"{M}/infer", {"inputs": []}, 400, ERROR),
    ("POST", f"{M}/infer", b"{", 400, ERROR),
    ("GET", f"{M}/infer", None, 405, ERROR),
    ("GET", "/v2/nothing", None, 404, ERROR),
    ("GET", "/v2/models/a%2Fb", None, 404, ERROR),
]  # fmt: skip


def test_every_route_answers_as_triton_and_kserve_do(fast_path):
    for method, path, body, status, keys in ROUTES:
        reply = ask(fast_path, method, path, body, X_Request_Id="mine")
        assert (reply.status, reply.headers["content-type"]) == (status, "application/json"), (path, reply.body)
        said = reply.json
        assert set(said) - {"id"} == keys - {"id"}, path
        assert reply.headers["x-request-id"] == "mine"
        assert said.get("id", "mine") == "mine"
        assert "id" in said or "id" not in keys, path  # KServe's client wants one in every answer
        assert status != 405 or reply.headers["allow"]
    reply = ask(fast_path, "POST", "/v2/repository/index", b"")
    assert reply.status == 200
    assert all(set(entry) == {"name", "version", "state", "reason"} for entry in reply.json)


def test_other_hosts_answer_the_same(fast_path, host):
    for method, path, body in (("GET", V, None), ("POST", f"{M}/infer", BODY), ("POST", f"{M}/infer", b"{")):
        replies = [ask(of, method, path, body, X_Request_Id="mine") for of in (fast_path, host)]
        assert replies[0].status == replies[1].status
        assert replies[0].json == replies[1].json


def test_what_does_not_serve_is_503_and_says_when_to_ask_again(fast_path):
    """KServe's status and body, of which tritonclient reads that it is not 200. Triton's own is 400 without a body."""
    name = "direction_stacked"
    assert ask(fast_path, "POST", f"/v2/repository/models/{name}/unload", b"").json == {"name": name, "unload": True}
    for method, path, body in (("GET", "ready", None), ("POST", "infer", BODY)):
        reply = ask(fast_path, method, f"/v2/models/{name}/{path}", body)
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "error" in reply.json
    assert ask(fast_path, "POST", f"/v2/repository/models/{name}/load", b"").json == {"name": name, "load": True}
    assert ask(fast_path, "GET", f"/v2/models/{name}/ready").json == {"name": name, "ready": True}
