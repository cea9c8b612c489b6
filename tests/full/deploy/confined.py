"""A command run as in a container, without a container: its user, its folders, its limits, its environment.

It has namespaces of its own for mounts and for the network (unshare): all is read-only to it but what it is given, its
ports are its own, and `/mnt/models` is what is mounted there. It has no capability, and is nobody where this is root.
"""

import contextlib
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from kit.paths import ROOT
from kit.waiting import PATIENCE

__all__ = ["NONE_MAY", "Confined", "confined", "need_namespaces"]

NONE_MAY = 65534
DESCRIPTORS = 1024
"""Few, as some container engines give."""

_LOOPBACK_UP = (
    "import fcntl, socket, struct; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'lo', 0x49))"  # SIOCSIFFLAGS: up, running, loopback
)


class Confined:
    """A process in namespaces of its own.

    Attributes:
        popen: The process.
        log: Its standard error.
    """

    def __init__(self, popen: subprocess.Popen[str], log: Path) -> None:
        self.popen = popen
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def status(self) -> Mapping[str, str]:
        """What the kernel says of it (/proc/PID/status)."""
        lines = Path(f"/proc/{self.popen.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def mounts(self) -> Mapping[str, set[str]]:
        """How what it sees is mounted, by place."""
        lines = Path(f"/proc/{self.popen.pid}/mountinfo").read_text().splitlines()
        return {words[4]: set(words[5].split(",")) for words in (line.split() for line in lines)}

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in its network, as the kubelet's probes do."""
        user = [] if os.getuid() == 0 else ["--user", "--preserve-credentials"]
        words = ["nsenter", f"--target={self.popen.pid}", "--net", *user, *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)


@contextlib.contextmanager
def confined(
    command: Sequence[str], models: Path, writable: Mapping[str, int], environment: Mapping[str, str], log: Path
) -> Iterator[Confined]:
    """Run a command; it is killed at the end.

    Args:
        command: The command.
        models: What is mounted at /mnt/models, read-only.
        writable: Folders that it may write to, empty at first, and their MiB.
        environment: All of its environment.
        log: Where its standard error goes.
    """
    words = _unshared(
        "mount -t tmpfs none /mnt && mkdir /mnt/models",
        f"mount --bind {shlex.quote(str(models))} /mnt/models && mount -o remount,bind,ro /mnt/models",
        *(line for place, size in writable.items() for line in _emptied(place, size)),
        "mount -o remount,bind,ro /mnt && mount -o remount,bind,ro /",
        command=command,
    )
    with (
        log.open("w") as file,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=file, text=True, env=dict(environment)) as popen,
    ):
        try:
            yield Confined(popen, log)
        finally:
            popen.kill()  # its workers end with it


def need_namespaces() -> None:
    """Skip where this machine gives no namespaces."""
    words = _unshared("mount -t tmpfs none /mnt && mount -o remount,bind,ro /", command=[sys.executable, "-c", ""])
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError as error:
        pytest.skip(f"{error.filename} is not installed: apt-get install util-linux")
    if done.returncode:
        pytest.skip(f"this machine gives no namespaces: {done.stderr.strip()[-200:]}")


def _unshared(*lines: str, command: Sequence[str]) -> list[str]:
    """Words of a command that makes namespaces, runs lines of a shell in them, and becomes another command."""
    drop = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    as_user = []
    if os.getuid():
        as_user = ["--user", "--map-current-user", "--keep-caps"]
    else:
        drop += [f"--reuid={NONE_MAY}", f"--regid={NONE_MAY}", "--clear-groups"]
    limited = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *command]
    all_lines = [
        shlex.join([sys.executable, "-c", _LOOPBACK_UP]),
        *_let_through(Path(sys.base_prefix)),
        *_let_through(Path(sys.prefix)),
        *lines,
        shlex.join(["exec", "setpriv", *drop, *limited]),
    ]
    return ["unshare", "--mount", "--net", *as_user, "sh", "-ec", "\n".join(all_lines)]


def _emptied(place: str, size: int) -> Iterator[str]:
    """Lines that give an empty folder of so many MiB in the place of one, where this project may lie: it stays."""
    folders = (ROOT, Path(sys.prefix), Path(sys.base_prefix))
    kept = [folder.resolve() for folder in folders if folder.resolve().is_relative_to(place)]
    quoted = [shlex.quote(str(folder)) for folder in kept]
    for number, folder in enumerate(quoted):
        yield f"mkdir -p /mnt/kept/{number} && mount --bind {folder} /mnt/kept/{number}"
    yield f"mount -t tmpfs -o size={size}m,mode=1777 none {shlex.quote(place)}"
    for number, folder in enumerate(quoted):
        yield f"mkdir -p {folder} && mount --bind /mnt/kept/{number} {folder} && umount /mnt/kept/{number}"
        yield f"mount -o remount,bind,ro {folder}"


def _let_through(folder: Path) -> Iterator[str]:
    """Lines that let everybody reach a folder where one above it is its owner's alone, as /root is."""
    closed = [parent for parent in folder.resolve().parents if not parent.stat().st_mode & stat.S_IXOTH]
    if closed and not os.getuid():
        inner, outer = shlex.quote(str(folder.resolve())), shlex.quote(str(closed[-1]))
        yield "mount -t tmpfs none /mnt && mkdir /mnt/it"
        yield f"mount --bind {inner} /mnt/it && mount -t tmpfs -o mode=755 none {outer}"
        yield f"mkdir -p {inner} && mount --bind /mnt/it {inner} && umount /mnt/it"
