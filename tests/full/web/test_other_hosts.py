"""A gateway before a plain transport, and one before a server elsewhere, answer as that before the fast path."""

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


def test_other_hosts_answer_the_same(fast_path, host):
    for method, path, body in (
        ("GET", V, None),
        ("GET", "/v2/models/nothing", None),
        ("POST", f"{M}/infer", BODY),
        ("POST", f"{M}/infer", b"{"),
    ):
        replies = [ask(of, method, path, body, X_Request_Id="mine") for of in (fast_path, host)]
        assert replies[0].status == replies[1].status
        assert replies[0].json == replies[1].json
