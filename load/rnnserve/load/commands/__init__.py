"""The commands `rnnserve load`, `rnnserve size` and `rnnserve demo`: their options, and what they print.

Door: nothing.
"""
