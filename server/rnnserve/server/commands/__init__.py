"""The commands that this area brings to `rnnserve`.

Threads: `metrics`.

Door: nothing.
"""
