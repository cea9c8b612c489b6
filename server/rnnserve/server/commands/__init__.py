"""The commands that this area brings to `rnnserve`.

Threads: `http_front`, `refusal_log`.

Door: nothing.
"""
