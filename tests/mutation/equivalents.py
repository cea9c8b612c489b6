"""Mutants that behave as the original."""

import tomllib
from pathlib import Path

__all__ = ["EQUIVALENTS", "Key", "read_equivalents"]

EQUIVALENTS = Path(__file__).with_suffix(".toml")

# File, operator, the line and the changed line without indentation: the same wherever the line moves.
Key = tuple[str, str, str, str]


def read_equivalents(path: Path = EQUIVALENTS) -> dict[Key, str]:
    """The reason for each, by its key."""
    entries = tomllib.loads(path.read_text()).get("equivalent", [])
    return {(entry["file"], entry["operator"], entry["line"], entry["becomes"]): entry["reason"] for entry in entries}
