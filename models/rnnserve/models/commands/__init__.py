"""The commands of `rnnserve` that this area provides: `train`.

Public: nothing.
"""
