"""How many messages the public transport's pools have received, and where that is asked for, how many bytes of whom."""

from collections import Counter

__all__ = ["ReceivedBytes"]


class ReceivedBytes:
    """Counts messages. Any thread may.

    Attributes:
        messages: How many have been received, about: threads that count at the same time may count one.
        by_connection: Bytes of these, about, by connection, since someone has put an empty one here; None where no one
            asks.
    """

    __slots__ = ("by_connection", "messages")

    def __init__(self) -> None:
        """Begin with none."""
        self.messages = 0
        self.by_connection: Counter[str] | None = None
