"""The commands `rnnserve load` and `rnnserve demo`: their options, and what they print.

Door: nothing.
"""
