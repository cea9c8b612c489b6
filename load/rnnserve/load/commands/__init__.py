"""The command `rnnserve load`: its options, and what it prints.

Door: nothing.
"""
