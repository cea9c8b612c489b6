"""What a server that runs here takes of the machine: processor time and memory, of all of its processes."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ServerUsage", "read_usage"]

_PROC = Path("/proc")
_PSS = re.compile(r"^Pss:\s+(?P<kib>\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class ServerUsage:
    """What the processes of a server have used.

    Attributes:
        cpu_seconds: Processor time since they started, in user mode and in the kernel.
        memory_bytes: Memory that they have now; pages that several of them share count once.
    """

    cpu_seconds: float
    memory_bytes: int


def read_usage(session: int, proc: Path = _PROC) -> ServerUsage | None:
    """Read the usage of the processes of a session; None where the system does not tell (only Linux does).

    Args:
        session: Id of the process that leads the session.
        proc: Folder in which the kernel describes processes.
    """
    ticks = memory = found = 0
    for folder in proc.glob("[0-9]*"):
        # Processes end meanwhile. Of one of them that has ended, its parent has the time once it has waited for it.
        with contextlib.suppress(OSError, IndexError, ValueError):
            # "pid (name) state parent group session …": the name may contain spaces and brackets.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session or fields[0] == "Z":
                continue
            pss = _PSS.search((folder / "smaps_rollup").read_text())
            if pss is None:
                continue
            ticks += sum(map(int, fields[11:15]))  # utime, stime, and those of children that were waited for
            memory += int(pss["kib"]) * 1024
            found += 1
    return ServerUsage(ticks / os.sysconf("SC_CLK_TCK"), memory) if found else None
