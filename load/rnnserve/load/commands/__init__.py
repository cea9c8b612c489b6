"""The commands `rnnserve load` and `rnnserve demo`.

Public: nothing.
"""
