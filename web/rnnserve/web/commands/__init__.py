"""`rnnserve web`: the process of the HTTP gateway. `rnnserve serve` starts the same command and passes it a socket.

Door: nothing.
"""

__all__: list[str] = []
