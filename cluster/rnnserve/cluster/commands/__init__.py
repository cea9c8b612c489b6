"""The command of `rnnserve` that this area provides: `ray`.

Door: nothing.
"""

__all__: list[str] = []
