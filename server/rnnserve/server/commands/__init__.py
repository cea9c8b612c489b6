"""The commands that this area brings to `rnnserve`.

Threads: `http_gateway`, `metrics`.

Door: nothing.
"""
