"""The command of `rnnserve` that this area provides: `ray`.

Public: nothing.
"""

__all__: list[str] = []
