"""The unit of systemd: what systemd itself says of it, and its commands, run as processes."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit.paths import ROOT
from kit.waiting import PATIENCE

UNIT = ROOT / "deploy/systemd/rnnserve.service"
RNNSERVE = Path(sys.executable).parent / "rnnserve"
PLACE = "/opt/rnnserve/bin/rnnserve"
"""The command, as the unit has it."""

MOST_EXPOSED = 20
"""Of what `systemd-analyze security` counts, tenths: from 0, a service that may do nothing, to 100."""


def setting(name):
    """A setting of the unit. It has each of these once."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return value


def link(folder):
    """The command at a path without spaces, which units have to quote."""
    program = folder / "rnnserve"
    program.symlink_to(RNNSERVE)
    return str(program)


def analyze(tmp_path, text, *words):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(PLACE, link(tmp_path)))
    # It reads nothing of this machine's units.
    return subprocess.run(
        [program, *words, unit],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "SYSTEMD_OFFLINE": "1"},
    )


def test_systemd_accepts_the_unit_without_warnings(tmp_path):
    done = analyze(tmp_path, UNIT.read_text(), "verify", "--man=no")
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr, done.stderr


def test_unit_has_low_exposure(tmp_path):
    done = analyze(
        tmp_path, UNIT.read_text(), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager"
    )
    assert done.returncode == 0, done.stdout[-500:]


def test_service_starts_becomes_ready_reloads_and_stops(repository, tmp_path):
    program = link(tmp_path)
    words = [program, *shlex.split(setting("ExecStart"))[1:-1], "--grpc-port", "0", "--http-port", "0"]
    words[words.index("--host") + 1] = "127.0.0.1"
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([*words, str(repository)], stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            address = process.stdout.readline().strip().rpartition(" ")[2]
            post = setting("ExecStartPost").replace(f"{PLACE} health", f"{program} health {address}")
            subprocess.run(shlex.split(post), check=True, timeout=PATIENCE, capture_output=True)
            reload = setting("ExecReload").replace("$MAINPID", str(process.pid))
            subprocess.run(shlex.split(reload), check=True, timeout=PATIENCE)
            subprocess.run([program, "health", address], check=True, timeout=PATIENCE, capture_output=True)
            process.send_signal(signal.SIGTERM)
            process.stdout.read()
            status = process.wait(float(setting("TimeoutStopSec")))
        finally:
            process.kill()  # its workers end with it
    assert status == 0, (tmp_path / "log").read_text()
    assert "SIGHUP" in (tmp_path / "log").read_text()
