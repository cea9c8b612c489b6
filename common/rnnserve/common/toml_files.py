"""TOML with mistakes by file and line."""

import tomllib
from pathlib import Path
from typing import Any

__all__ = ["parse_toml"]


def parse_toml(content: bytes, path: Path) -> dict[str, Any]:
    """Read the content of a file.

    Args:
        content: Content of the file.
        path: Path of the file, for messages.

    Raises:
        ValueError: If it is no TOML; the message is for the user.
    """
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{content[: error.start].count(10) + 1}: not text in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from error
