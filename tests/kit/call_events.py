"""What grpcio passes with a call."""


class CallEvent:
    """Names the connection, as grpcio's event of a new call does."""

    def __init__(self, connection: str) -> None:
        self.call = self
        self._connection = connection

    def peer(self) -> bytes:
        return self._connection.encode()
