"""Messages about packages that are missing because an extra of rnnserve is not installed."""

__all__ = ["install_command", "missing_package"]


def install_command(*extras: str) -> str:
    """Return the words that explain how to install extras: from a clone, because rnnserve is in no package index.

    Args:
        extras: Names of the extras; none for rnnserve without extras.
    """
    target = f"'.[{','.join(extras)}]'" if extras else "."
    return f"in a clone of rnnserve, run pip install {target}"


def missing_package(package: str | None, *extras: str) -> str:
    """Return the end of an error message: which package is missing, and how to install it.

    Args:
        package: Name of the missing package.
        extras: Names of the extras that contain the package.
    """
    return f"needs the package {package}: {install_command(*extras)}"
