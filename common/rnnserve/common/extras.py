"""Messages about packages that are missing because an extra of rnnserve is not installed."""

__all__ = ["install_command", "missing_package"]


def install_command(*extras: str) -> str:
    """Return how to install extras: from a clone, because rnnserve is in no package index."""
    target = f"'.[{','.join(extras)}]'" if extras else "."
    return f"in a clone of rnnserve, run pip install {target}"


def missing_package(package: str | None, *extras: str) -> str:
    """Return the end of an error message: which package is missing, and which extras contain it."""
    return f"needs the package {package}: {install_command(*extras)}"
