"""Every command with curl in docs/http.md, in order, as it stands there."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.waiting import PATIENCE

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"
ADDRESS = "127.0.0.1:8000"
CURL = f'curl() {{ command curl --silent --show-error --fail-with-body --max-time {PATIENCE:.0f} "$@"; }}\n'

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def commands():
    """Commands of shell blocks; one ends with a line after which the shell needs no more."""
    found, lines, is_code = [], [], False
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("```"):
            is_code = not is_code
        elif is_code:
            lines.append(line)
            text = "\n".join(lines)
            if text.count("'") % 2 == 0 and not text.endswith("|"):
                found.append(text)
                lines = []
    return [command for command in found if "curl " in command]


def test_the_document_shows_commands():
    assert len(commands()) > 10
    assert all(ADDRESS in command for command in commands())


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command.split())[:100])
def test_a_command(served, command):
    done = subprocess.run(
        ["bash", "-c", CURL + command.replace(ADDRESS, served[1])],
        capture_output=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "/infer" in command or "/generate " in command:
        said = json.loads(done.stdout)
        assert said["model_name"] == "direction_simple"
    else:
        assert done.stdout
