"""A server that requires tokens, with its HTTP gateway, and all routes with their methods and a valid body."""

import contextlib
import http.client
import json

from kit.waiting import PATIENCE
from rnnserve.web.app.routes import all_routes

SIMPLE = "direction_simple"
BODY = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, 2], "data": [0.0] * 6}]}).encode()
BODIES = {"infer": BODY}
WAYS = [
    (
        entry.name,
        method,
        entry.path.format(
            model="no_such" if entry.name == "control" else SIMPLE,
            version="1",
            region="r",
            repository="r",
            file="page.js",
        ),
    )
    for entry in all_routes()
    for method in (*entry.handlers, *(["HEAD"] if "GET" in entry.handlers else []))
]


class LockedFront:
    def __init__(self, process, address, metrics, tokens):
        self.process, self.address, self.metrics, self.tokens = process, address, metrics, tokens

    def ask(self, path, token="", method="GET", body=None, headers=None, address=None):
        """Ask over HTTP. The status, the headers, and what has arrived of the body at first."""
        connection = http.client.HTTPConnection(address or self.address, timeout=PATIENCE)
        with contextlib.closing(connection):
            said = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, path, body, said | (headers or {}))
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read1(1 << 16)
