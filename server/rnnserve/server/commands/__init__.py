"""The commands that this area brings to `rnnserve`.

Threads: `refusal_log`.

Door: nothing.
"""
