"""`rnnserve web`: the front as a process. `rnnserve serve` starts the same command, with sockets of its own.

Imports everything below it, and uvicorn.

Door: nothing.
"""

__all__: list[str] = []
