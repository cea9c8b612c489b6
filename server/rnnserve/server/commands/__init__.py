"""The server's commands of `rnnserve`.

Threads: `metrics`.

Public: nothing.
"""
