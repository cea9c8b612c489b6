"""A step's rows are kept, however its process ends."""

import signal
import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu.rows import FAILED, HELD, Row, to_line
from benchmarks.gpu.step_process import run_step

ROW = Row("nodes", "rnn", "nodes", HELD)


def ended(monkeypatch, status, rows):
    """Let the step's process end like that, after it has found these rows."""

    def run(command, *, timeout, **_):
        file = Path(command[-1])
        assert not file.exists()  # nothing of an earlier run counts
        if rows:
            file.write_text("".join(to_line(row) + "\n" for row in rows))
        if status is None:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (-signal.SIGSEGV, "the process was ended by SIGSEGV"),
        (1, "the process ended with status 1; what it printed says why"),
        (None, "it took longer than 5 s (--timeout)"),
    ],
)
@pytest.mark.parametrize("rows", [[], [ROW]])
def test_a_process_that_fails_is_a_row(monkeypatch, tmp_path, status, reason, rows):
    (tmp_path / "nodes.jsonl").write_text(to_line(Row("nodes", "old", "nodes", HELD)) + "\n")
    ended(monkeypatch, status, rows)
    *before, last = run_step("nodes", tmp_path, "cuda", 5)
    assert before == rows
    assert last == Row("nodes", "all", "ran to its end", FAILED, note=reason)
