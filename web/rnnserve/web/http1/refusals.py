"""Answers of the protocol itself, before or instead of the application: JSON, and the connection is closed."""

from http import HTTPStatus

import orjson

__all__ = ["refusal"]


def refusal(status: int, message: str) -> bytes:
    """Write a whole answer.

    Args:
        status: HTTP status.
        message: Words for the client.
    """
    body = orjson.dumps({"error": message})
    retry = b"retry-after: 1\r\n" if status == 503 else b""
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n%s"
        % (status, HTTPStatus(status).phrase.encode(), len(body), retry, body)
    )
