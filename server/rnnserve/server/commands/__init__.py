"""The command that this area brings to `rnnserve`.

Threads: `unblocked_output`.

Door: nothing.
"""
