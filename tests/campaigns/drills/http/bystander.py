"""The bystander over HTTP: asks for one thing after another, each time on a connection of its own, in its own process.

It is started, and asked what it met, as the one over gRPC is (`drills.wire.bystander`).
"""

import http.client
import json

from campaigns.drills.wire import bystander

__all__ = ["MODULE"]

MODULE = "campaigns.drills.http.bystander"


class _Loop(bystander.Loop):
    def __init__(self, address: str, payload: bytes) -> None:
        super().__init__()
        self._address = address
        self._payload = payload

    def ask(self) -> tuple[str, str]:
        connection = http.client.HTTPConnection(self._address, timeout=bystander.TIMEOUT)
        try:
            path = "/v2/models/direction_simple/infer"
            connection.request("POST", path, self._payload, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            said = reply.read()
        except OSError as error:
            return type(error).__name__, str(error)
        except http.client.HTTPException as error:
            return type(error).__name__, repr(error)
        finally:
            connection.close()
        if reply.status != 200:
            return str(reply.status), said.decode(errors="replace")
        return "OK" if "outputs" in json.loads(said) else "ANOTHER ANSWER", ""


if __name__ == "__main__":
    bystander.answer_reports(_Loop)
