"""Answers of the protocol itself, before or instead of the application: JSON, and the connection is closed.

Such a request has an id of the front's own, which its line in the log has, too.
"""

from http import HTTPStatus

import orjson

from rnnserve.common.gateway_counts import used_gateway_counts
from rnnserve.common.request_lines import LineBudget, log_request, new_request_id

__all__ = ["TOO_LATE", "TOO_MANY", "refusal"]

TOO_LATE = "the request did not arrive in time, and the connection is closed"
TOO_MANY = "there are as many connections as may be, all with requests in hand"


_LINES = LineBudget()


def refusal(status: int, message: str, client: tuple[str, int] | None) -> bytes:
    """Write a whole answer, and a line of the log; count it.

    Args:
        status: HTTP status.
        message: Words for the client.
        client: Address and port of the client, for the log; None where they are not known.
    """
    used_gateway_counts().count_refusal(status)
    request_id = new_request_id()
    reason, peer = HTTPStatus(status).name.lower(), "http:{}:{}".format(*client) if client else ""
    left_out = _LINES.take(reason)
    if left_out is not None:
        said = {"request_id": request_id, "peer": peer, "status": status, "reason": reason}
        log_request(said, has_failed=True, left_out=left_out)
    body = orjson.dumps({"error": message, "id": request_id})
    retry = b"retry-after: 1\r\n" if status == 503 else b""
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nx-request-id: %s\r\ncontent-length: %d\r\n%s"
        b"connection: close\r\n\r\n%s"
        % (status, HTTPStatus(status).phrase.encode(), request_id.encode(), len(body), retry, body)
    )
