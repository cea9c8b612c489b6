"""grpcio's own thread, which takes every call that does not come on the lane: whether it makes turns.

grpcio tells nothing of it, so it is found among the threads of this process by the function that it runs
(`grpc._server._serve`), whose variable `timeout` is set anew at each turn: once a second at least. Where a grpcio has
neither, the thread is not watched.
"""

from types import FrameType

import grpc

from rnnserve.server.process.thread_frames import thread_frames

__all__ = ["ServingThread"]

_FUNCTION, _VARIABLE = "_serve", "timeout"


class ServingThread:
    """Looks at the thread of a server. For one thread."""

    def __init__(self, server: grpc.Server) -> None:
        """Look at a server, which may not have been started yet."""
        self._state = getattr(server, "_state", None)
        self._looks = 0

    def turn(self) -> float:
        """A number that is another after each turn of the thread, and at each look where there is no thread to see."""
        self._looks += 1
        frame = self._frame()
        return float(self._looks) if frame is None else float(frame.f_locals.get(_VARIABLE, self._looks))

    def _frame(self) -> FrameType | None:
        for frame in thread_frames().values():
            at: FrameType | None = frame
            while at is not None:
                if at.f_code.co_name == _FUNCTION and at.f_locals.get("state") is self._state:
                    return at
                at = at.f_back
        return None
