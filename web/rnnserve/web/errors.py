"""What the front refuses: an HTTP status, and a message that says what to do."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["BEFORE_ROUTES", "STATUSES", "RestError", "bad_request", "quoted"]

STATUSES: Mapping[int, str] = MappingProxyType(
    {
        400: "The request is wrong, however often it is sent: the message says what came, what was expected, what "
        "to do",
        401: "The request needs credentials: a token that the server has, and that has not expired",
        403: "The credentials, or the page that the request comes from, are not admitted",
        404: "There is no such path, model or version",
        405: "The path has other methods: they are in Allow",
        408: "The request came too slowly",
        413: "The body is larger than is read",
        414: "The request line's target is too long",
        415: "The body is compressed in a way that is not known",
        417: "Something else is expected than 100-continue",
        429: "The server is full: try again after Retry-After seconds",
        431: "The head is too large, or one of the headers that the server sees",
        500: "A defect: the log has the detail, under the message's id",
        501: "The protocol has it, the server does not",
        503: "Not ready, or no server answers: ask again after Retry-After seconds",
        504: "No answer in time",
        505: "The request speaks another version of HTTP than 1.1",
    }
)
"""What the statuses of refusals mean."""

BEFORE_ROUTES = (414, 417, 505)
"""Those that are answered before a route is found."""

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
