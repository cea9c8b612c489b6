"""What the front refuses: an HTTP status, and a message that says what to do."""

from collections.abc import Mapping

__all__ = ["RestError", "bad_request", "quoted"]

_MAX_QUOTED = 100
"""Characters of a caller's own text that are repeated to it."""


class RestError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        headers: Further headers of the answer, by name.
        is_of_server: Whether the server has refused the request: then it has told of that.
    """

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None, is_of_server: bool = False
    ) -> None:
        """Say what is wrong.

        Args:
            status: HTTP status.
            message: Words for the caller.
            headers: Further headers of the answer, by name.
            is_of_server: Value of the attribute of the same name.
        """
        super().__init__(message)
        self.is_of_server = is_of_server
        self.status = status
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (self.status, str(self), self.headers)


def _restored(status: int, message: str, headers: dict[str, str]) -> RestError:
    return RestError(status, message, headers=headers)


def bad_request(message: str) -> RestError:
    """Make the error of a request that is wrong however often it is sent."""
    return RestError(400, message)


def quoted(text: str) -> str:
    """Put a caller's own text into quotation marks, to repeat it in a message: its beginning, if it is long."""
    if len(text) <= _MAX_QUOTED:
        return f'"{text}"'
    return f'"{text[:_MAX_QUOTED]}…" ({len(text):,} characters)'
