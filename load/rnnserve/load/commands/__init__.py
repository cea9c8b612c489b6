"""The commands `rnnserve load` and `rnnserve demo`.

Door: nothing.
"""
