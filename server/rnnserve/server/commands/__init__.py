"""The command that this area brings to `rnnserve`.

Threads: `http_front`, `unblocked_output`.

Door: nothing.
"""
