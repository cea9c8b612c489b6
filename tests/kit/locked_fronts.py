"""A server that asks for tokens, with its HTTP front, in a process of its own."""

import contextlib
import http.client

from kit.waiting import PATIENCE


class LockedFront:
    def __init__(self, process, address, metrics, tokens):
        self.process, self.address, self.metrics, self.tokens = process, address, metrics, tokens

    def ask(self, path, token="", method="GET", body=None, headers=None, address=None):
        """Ask over HTTP; the status, the headers, and what has arrived of the body at first."""
        connection = http.client.HTTPConnection(address or self.address, timeout=PATIENCE)
        with contextlib.closing(connection):
            said = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, path, body, said | (headers or {}))
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read1(1 << 16)
