"""From an error to the status of a call: the one place where that happens on the public transport."""

from typing import NoReturn

import grpc

from rnnserve.server.counting.table import count_refusal
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.observing.runs import tell_refusal
from rnnserve.server.protocol.error_details import trailing_metadata
from rnnserve.server.transport.callers import PublicCaller

__all__ = ["ErrorsAsStatuses"]

_COUNTED = ("ModelInfer", "ModelStreamInfer")


class ErrorsAsStatuses:
    """Ends the call with an error's status, which it tells of, unless that has been done."""

    __slots__ = ("_context", "_method")

    def __init__(self, context: grpc.ServicerContext, method: str) -> None:
        self._context = context
        self._method = method

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ServeError):
            self._abort(error, is_counted=self._method not in _COUNTED)
        if isinstance(error, Exception):  # a defect must neither reach a caller nor end the thread
            self._abort(InternalError.hiding(error), is_counted=False)

    def _abort(self, error: ServeError, *, is_counted: bool) -> NoReturn:
        # A frame that has the error as a variable, and is in its traceback, would keep the call until Python looks for
        # garbage. gRPC's core refuses streams where it has many such calls, with a bare REFUSED_STREAM.
        error.__traceback__ = None
        request_id = error.request_id
        if not request_id:
            if not is_counted:
                count_refusal(error)
            request_id = tell_refusal(PublicCaller(self._context, self._method), error)
        self._context.set_trailing_metadata(trailing_metadata(error, request_id))
        self._context.abort(grpc.StatusCode[error.status], str(error))
        raise error  # `abort` raises; this tells the type checker
