"""Runs `rnnserve` from a source tree: `python -P launch_from_tree.py TREE ARGUMENTS...`, with TREE's PYTHONPATH.

It is a separate program and imports nothing from this package. It refuses to run if Python finds `rnnserve` in another
tree. Otherwise the benchmark could compare a tree with itself, and the result would look valid.
"""

import importlib.util
import sys
from pathlib import Path

_AREAS = ("rnnserve.server", "rnnserve.protos", "rnnserve.cli")


def main(tree: str, arguments: list[str]) -> int:
    """Run the command line and return its exit status."""
    for area in _AREAS:
        # `find_spec` doesn't import the area: `rnnserve serve` configures grpcio before its first import.
        spec = importlib.util.find_spec(area)
        found = "nowhere" if spec is None or spec.origin is None else spec.origin
        if not Path(found).resolve().is_relative_to(Path(tree).resolve()):
            print(f"{area} is found in {found}, expected in {tree}", file=sys.stderr)
            return 1
    from rnnserve.cli import main as run_command_line

    return run_command_line(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
