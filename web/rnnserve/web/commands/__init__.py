"""`rnnserve web`: the process of the HTTP gateway. `rnnserve serve` starts the same command and passes it a socket.

Public: nothing.
"""

__all__: list[str] = []
