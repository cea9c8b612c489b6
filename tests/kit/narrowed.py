"""Commands of processes that start with less: without `site`, under a limit, or without a standard stream.

The new process narrows itself. A function that runs between fork and exec in a process that has gRPC in it may find
gRPC's threads half stopped, and abort.
"""

import sys
from collections.abc import Sequence

BARE_PYTHON = [sys.executable, "-I", "-S", "-c"]
"""The command line, which a program of a few lines follows: it has the standard library, and heeds no environment.

Without `site` it starts in 10 ms: nothing installed is looked for, and no coverage begun, which takes 140 ms.
"""


def limited(command: Sequence[str], **limits: int) -> list[str]:
    """A command line under limits, named as `resource` names them: `limited(command, RLIMIT_NOFILE=10)`."""
    set_limits = (f"resource.setrlimit(resource.{name}, ({value},) * 2)" for name, value in limits.items())
    return _after("; ".join(["import resource", *set_limits]), command)


def closed(command: Sequence[str], descriptor: int) -> list[str]:
    """A command line whose process starts without one of its descriptors."""
    return _after(f"os.close({descriptor})", command)


def _after(statements: str, command: Sequence[str]) -> list[str]:
    # It reads nothing that a test has prepared for the command.
    program = f"import os, sys; {statements}; os.execvp(sys.argv[1], sys.argv[1:])"
    return [*BARE_PYTHON, program, *command]
