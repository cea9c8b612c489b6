"""Which processes run."""

from pathlib import Path

__all__ = ["is_running"]


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and is still to be waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
