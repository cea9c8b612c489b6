"""The table of a drill."""

from collections.abc import Sequence

import tabulate

from .drill import Result

__all__ = ["table"]

_MEGABYTE = 1 << 20


def table(results: Sequence[Result], *, markdown: bool = False) -> str:
    """Write what each attack did, a line each.

    Args:
        results: In order.
        markdown: Whether it is for a document.
    """
    rows = [
        {
            "attack": result.attack.name,
            "answers": _plain(str(result.answers)) if markdown else str(result.answers),
            "bystander's longest wait": _duration(result.seen.longest),
            "failed": _failures(result),
            "memory, MB": " / ".join(str(size // _MEGABYTE) for size in result.memory) if any(result.memory) else "",
            "answers after it": f"not {', '.join(result.gone)}" if result.gone else "yes",
        }
        for result in results
    ]
    widths = [None, None if markdown else 60, None, None, None, None]
    return tabulate.tabulate(
        rows, headers="keys", tablefmt="github" if markdown else "simple", maxcolwidths=widths, disable_numparse=True
    )


def _failures(result: Result) -> str:
    if not result.seen.failures:
        return f"0 of {result.seen.requests}"
    by_status = ", ".join(f"{count} {status}" for status, count in result.seen.failures.items())
    return f"{by_status} of {result.seen.requests}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_")
