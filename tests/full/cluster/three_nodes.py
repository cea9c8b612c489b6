"""Three machines on one: network namespaces with addresses of their own on a bridge, and a node of Ray in each."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kit.waiting import PATIENCE, until

_BRIDGE, _PREFIX, _NETWORK, _PORT = "rnnbr", "rnn-node-", "10.213.77", 6379
_RAY = Path(sys.executable).with_name("ray")
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a-token-of-the-tests-of-rnnserve-0123456789",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "3600",
    # A node that does not answer is lost after some 4 s, not 40.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
}


def why_not() -> str:
    """Why there cannot be three machines here; empty where there can."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed: `make ray-test` installs it"
    if os.geteuid() or shutil.which("ip") is None:
        return "network namespaces need root, and the command `ip`"
    tried = subprocess.run(["ip", "link", "add", _BRIDGE, "type", "bridge"], capture_output=True, text=True)
    if tried.returncode:
        return f"network namespaces cannot be had here: {tried.stderr.strip()}"
    _ip("link", "del", _BRIDGE)
    return ""


class Machines:
    """The machines, of which the first has Ray's head."""

    def __init__(self, folder: Path):
        self._folder = folder

    @staticmethod
    def address(machine: int) -> str:
        return f"{_NETWORK}.{machine}"

    def run(self, machine: int, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run a command on a machine."""
        words = ["ip", "netns", "exec", f"{_PREFIX}{machine}", *command]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **_ENVIRONMENT}, timeout=300)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done

    def command(self, *words: str) -> list[str]:
        """The words of `rnnserve ray`."""
        return [sys.executable, "-m", "rnnserve.cli", "ray", *words, "--address", f"{self.address(1)}:{_PORT}"]

    def rnnserve(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run `rnnserve ray` on the first."""
        return self.run(1, *self.command(*words), check=check)

    def join(self, machine: int) -> None:
        """Start Ray on a machine."""
        where = ["--head", f"--port={_PORT}", f"--temp-dir={self._folder}", "--include-dashboard=false"]
        if machine != 1:
            where = [f"--address={self.address(1)}:{_PORT}"]
        options = [f"--node-ip-address={self.address(machine)}", "--num-cpus=1", "--object-store-memory=80000000"]
        self.run(machine, str(_RAY), "start", *where, *options, "--disable-usage-stats")

    def kill(self, machine: int) -> None:
        """End all that runs on a machine, at once."""
        for pid in self.processes(machine):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.processes(machine))

    def processes(self, machine: int) -> list[int]:
        said = subprocess.run(["ip", "netns", "pids", f"{_PREFIX}{machine}"], capture_output=True, text=True)
        return [int(pid) for pid in said.stdout.split()]

    def servers(self, machine: int) -> list[int]:
        """The processes of a machine that are servers."""
        found = []
        for pid in self.processes(machine):
            with contextlib.suppress(OSError):
                if b"rnnserve.cli\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def cut(self, machine: int) -> None:
        """Pull a machine's cable."""
        _ip("link", "set", f"{_BRIDGE}{machine}", "down")

    def mend(self, machine: int) -> None:
        _ip("link", "set", f"{_BRIDGE}{machine}", "up")


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """Three machines with Ray; nothing of them is left.

    Args:
        folder: Folder for what Ray writes, with a short path, since there are sockets in it.
    """
    made = Machines(folder)
    with contextlib.ExitStack() as stack:
        _ip("link", "add", _BRIDGE, "type", "bridge")
        stack.callback(_ip, "link", "del", _BRIDGE)
        _ip("addr", "add", f"{_NETWORK}.254/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        for machine in (1, 2, 3):
            space, outer, inner = f"{_PREFIX}{machine}", f"{_BRIDGE}{machine}", f"{_BRIDGE}{machine}i"
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            stack.callback(made.kill, machine)
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            stack.callback(_ip, "link", "del", outer)  # the kernel would do it some time after the namespace's end
            _ip("link", "set", inner, "netns", space)
            _ip("link", "set", outer, "master", _BRIDGE)
            _ip("link", "set", outer, "up")
            _ip("-n", space, "addr", "add", f"{_NETWORK}.{machine}/24", "dev", inner)
            _ip("-n", space, "link", "set", inner, "up")
            _ip("-n", space, "link", "set", "lo", "up")
        for machine in (1, 2, 3):
            made.join(machine)
        yield made


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
