"""The server's commands of `rnnserve`.

Threads: `metrics`.

Door: nothing.
"""
