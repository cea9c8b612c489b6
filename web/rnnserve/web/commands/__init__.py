"""`rnnserve web`: the gateway as a process. `rnnserve serve` starts the same command, with sockets of its own.

Door: nothing.
"""

__all__: list[str] = []
