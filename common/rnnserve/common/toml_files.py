"""Parse TOML and report errors with file and line."""

import tomllib
from pathlib import Path
from typing import Any

__all__ = ["parse_toml"]


def parse_toml(content: bytes, path: Path) -> dict[str, Any]:
    """Parse the content of a TOML file. Raises ValueError, with a message for the user, if it isn't TOML."""
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{content[: error.start].count(10) + 1}: not text in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from error
