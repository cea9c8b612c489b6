"""Run a client's program."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from campaigns.conformance.features import FEATURES, Feature
from campaigns.conformance.outcomes import Outcome, judge

__all__ = ["run_program"]

_SECONDS = 600.0


def run_program(
    command: list[str],
    plan: Path,
    lacks: Mapping[str, str],
    seconds: float = _SECONDS,
    features: Sequence[Feature] = FEATURES,
) -> dict[str, Outcome]:
    """Run a program and judge what it prints.

    Args:
        command: The program, which gets the plan, and the names in `lacks`, as its arguments.
        plan: From `served.serve_all`.
        lacks: What the client does not offer: reasons by the features' names.
        seconds: How long it may take; then it is ended, and what it has not tried has FAILED.
        features: The features that it tries.

    Returns:
        Outcomes by the names of the features, in the table's order.

    Raises:
        ValueError: If it prints what is no line of `programs/__init__.py`.
    """
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            [*command, str(plan), *lacks], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        ) as process:
            try:
                printed, _ = process.communicate(timeout=seconds)
                end = f"its program ended with status {process.returncode}"
            except subprocess.TimeoutExpired:
                end = f"its program did not end within {seconds:.0f} s"
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                printed, _ = process.communicate()
        errors.seek(0)
        last = [line.strip() for line in errors.read().splitlines() if line.strip()][-1:]
    return judge(printed.splitlines(), lacks, ": ".join([end, *last]), features)
