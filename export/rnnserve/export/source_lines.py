"""Lines of the user's code that the nodes of a captured program come from."""

import torch

__all__ = ["line_of"]


def line_of(node: torch.fx.Node) -> str:
    """Name the line that a node comes from, for a message: " (at file.py:12)"; empty where torch has not kept it."""
    trace = [line.strip() for line in str(node.meta.get("stack_trace") or "").splitlines() if "File" in line]
    if not trace:
        return ""
    file, _, line = trace[-1].removeprefix("File ").partition(", line ")
    name = file.strip('"').replace("\\", "/").rpartition("/")[2]
    return f" (at {name}:{line.partition(',')[0]})"
