"""`rnnserve web`: the front as a process. `rnnserve serve` starts the same command, with sockets of its own.

`memory_limit` ends a front that takes more memory than its bounds should let it.

Imports everything below it, and uvicorn.

Threads: `memory_limit`.

Door: nothing.
"""

__all__: list[str] = []
