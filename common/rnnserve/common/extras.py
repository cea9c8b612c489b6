"""Messages about packages that are missing because an extra of rnnserve is not installed."""

__all__ = ["missing_package"]


def missing_package(package: str | None, *extras: str) -> str:
    """Return the end of an error message: which package is missing, and which extras of a clone contain it."""
    target = f"'.[{','.join(extras)}]'" if extras else "."
    return f"needs the package {package}: in a clone of rnnserve, run pip install {target}"
