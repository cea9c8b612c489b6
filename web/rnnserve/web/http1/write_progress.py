"""How fast a client takes what is written to it."""

from rnnserve.web.http1.limits import HttpLimits

__all__ = ["WriteProgress"]


class WriteProgress:
    """Looked at now and then; what a client has taken between two looks is what was written and no longer waits.

    Attributes:
        sent: Bytes that have been written so far.
        has_backlog: Whether some of them waited at the last look.
    """

    __slots__ = ("_limits", "_since", "_taken", "_taken_at", "_taken_before", "has_backlog", "sent")

    def __init__(self, limits: HttpLimits) -> None:
        """Begin without any."""
        self.sent = 0
        self.has_backlog = False
        self._limits = limits
        self._since = self._taken_at = 0.0  # when the backlog has begun; when the client has taken something last
        self._taken = self._taken_before = 0  # bytes that it has taken; of them before the backlog

    def is_late(self, unwritten: int, now: float) -> bool:
        """Whether the client takes it too slowly.

        Args:
            unwritten: Bytes that wait.
            now: Seconds on the loop's clock.
        """
        if not unwritten:
            self.has_backlog = False
            return False
        taken = self.sent - unwritten
        if not self.has_backlog:
            self.has_backlog = True
            self._since = self._taken_at = now
            self._taken = self._taken_before = taken
        elif taken != self._taken:
            self._taken, self._taken_at = taken, now
        seconds = self._limits.write_seconds
        most = seconds + (taken - self._taken_before) / self._limits.write_rate
        return now - self._taken_at > seconds or now - self._since > most
