"""The names of publications on a command line, `FILE.py:NAME` or `package.module:NAME`, before anything is imported."""

import difflib
import importlib.util
import sys
from pathlib import Path

from rnnserve.export.errors import WrongArguments

__all__ = ["check_target", "is_target", "search", "split_target"]


def is_target(word: str) -> bool:
    """Whether a word of the command line names a Python object, not a checkpoint."""
    return ":" in word or word.endswith(".py")


def split_target(target: str) -> tuple[str, str]:
    """Return the file or module, and the name in it.

    Raises:
        WrongArguments: If one is missing.
    """
    source, _, name = target.rpartition(":")
    if not source or not name:
        raise WrongArguments(f"{target}: name an object, too: {target.removesuffix(':')}:NAME")
    return source, name


def check_target(target: str) -> None:
    """Check what can be told without importing: importing the user's file imports torch, which takes seconds.

    Raises:
        WrongArguments: If there is no such file or package, or no name.
    """
    source, _ = split_target(target)
    if source.endswith(".py"):
        path = Path(source)
        if not path.is_file():
            raise WrongArguments(f"there is no file {source}{_similar(path)}")
        return
    if "/" in source:
        raise WrongArguments(f"{target}: a file's name ends with .py: {source}.py:{target.rpartition(':')[2]}?")
    search(Path.cwd())
    package = source.partition(".")[0]
    if not package or (package not in sys.modules and importlib.util.find_spec(package) is None):
        raise WrongArguments(f"{target}: there is no module {package!r} here or among the packages that are installed")


def search(folder: Path) -> None:
    """Let imports find the modules of a folder."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _similar(path: Path) -> str:
    names = [each.name for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
    found = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / found[0]}?" if found else ""
