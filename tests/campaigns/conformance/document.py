"""The OpenAPI document against what the server answers: schemathesis sends what it describes, and what it excludes.

Each answer has to be one that the document has for the request: status, type, headers, and the schema of its body. What
the document excludes has to be refused, and what it describes taken; `schemathesis.toml` has the exceptions.
"""

import dataclasses
import json
import subprocess
import tempfile
from pathlib import Path

from benchmarks.environments import Environment
from campaigns.conformance.clients import FOLDER

__all__ = ["SCHEMATHESIS", "DocumentRun", "run_schemathesis"]

SCHEMATHESIS = Environment(FOLDER / "schemathesis", ("schemathesis==4.32.5",), "schemathesis")

_SETTINGS = Path(__file__).with_name("schemathesis.toml")
_SECONDS = 600
_SEED = 1


@dataclasses.dataclass(frozen=True)
class DocumentRun:
    """What came of it.

    Attributes:
        holds: Whether the document and the server agree.
        words: What schemathesis says: its last line where they agree, else all that it found.
    """

    holds: bool
    words: str


def run_schemathesis(plan: Path, seed: int = _SEED) -> DocumentRun:
    """Run it against the plan's server, in some minutes; its environment has to be there.

    Args:
        plan: From `served.serve_all`.
        seed: Seed of what it draws.
    """
    address = json.loads(plan.read_text())["http"]["plain"]
    command = [str(SCHEMATHESIS.python.with_name("schemathesis")), "--config-file", str(_SETTINGS), "run"]
    command += [f"http://{address}/openapi.json", "--seed", str(seed), "--no-shrink", "--no-color"]
    with tempfile.TemporaryDirectory() as folder:  # it would leave a folder of what it has found
        done = subprocess.run(
            [*command, "--continue-on-failure", "--request-timeout", "20"],
            capture_output=True, text=True, check=False, timeout=_SECONDS, cwd=folder,
        )  # fmt: skip
    lines = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
    if done.returncode == 0:
        return DocumentRun(holds=True, words=lines[-1].strip("= "))
    found = next((at for at, line in enumerate(lines) if "FAILURES" in line or "ERRORS" in line), 0)
    return DocumentRun(holds=False, words="\n".join(lines[found:]))
