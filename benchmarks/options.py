"""Options that the programs of this folder share."""

import argparse
from collections.abc import Callable, Collection

__all__ = ["names_among"]


def names_among(known: Collection[str], what: str = "") -> Callable[[str], list[str]]:
    """Make what parses names separated by commas, for `argparse`.

    Args:
        known: The names there are.
        what: Word for what they are names of, for the message; empty where that is plain.
    """
    kind = f"{what} " if what else ""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {kind}{name!r}; choose from {', '.join(known)}")
        return names

    return parse
