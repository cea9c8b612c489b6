"""A step's rows are kept, however its process ends."""

import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from benchmarks.gpu import step_process
from benchmarks.gpu.rows import FAILED, HELD, Row, from_line, to_line
from benchmarks.gpu.step_process import main, run_step

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


def test_a_step_without_rows_has_not_held(monkeypatch, tmp_path):
    ended(monkeypatch, 0, [])
    (row,) = run_step("nodes", tmp_path, "cuda", 5)
    assert (row.verdict, row.note) == (FAILED, "it found nothing")
    ended(monkeypatch, 0, [ROW])
    assert run_step("nodes", tmp_path, "cuda", 5) == [ROW]


def test_a_process_that_exits_is_a_row_for_real(tmp_path):
    (row,) = run_step("no such step", tmp_path, "cpu", 60)
    assert row.note == "the process ended with status 1; what it printed says why"


@pytest.fixture
def step(monkeypatch):
    """Makes `rows(work, device)` the step "mine"."""

    def make(rows):
        monkeypatch.setitem(sys.modules, "a_step_of_the_tests", types.SimpleNamespace(rows=rows))
        monkeypatch.setattr(step_process, "STEPS", {"mine": ("a_step_of_the_tests", "rows")})

    return make


def test_rows_are_written_as_they_are_found(step, tmp_path):
    file = tmp_path / "mine.jsonl"

    def rows(work, device):
        yield Row("mine", str(work), device, HELD)
        assert len(file.read_text().splitlines()) == 1
        raise ValueError("spoiled")

    step(rows)
    main("mine", tmp_path, "cpu", file)
    first, last = map(from_line, file.read_text().splitlines())
    assert (first.subject, first.what) == (str(tmp_path), "cpu")
    assert (last.verdict, last.note) == (FAILED, "ValueError: spoiled")


def test_on_cuda_the_libraries_are_loaded_first(step, tmp_path, monkeypatch):
    from rnnserve.server.repository import cuda_trial

    step(lambda *_: pytest.fail("the step began"))
    monkeypatch.setattr(cuda_trial, "find_cuda_fault", lambda: "CUDA failure 719: unspecified launch failure")
    main("mine", tmp_path, "cuda", tmp_path / "mine.jsonl")
    row = from_line((tmp_path / "mine.jsonl").read_text())
    assert row.verdict == FAILED
    assert "CUDA does not work in this process: CUDA failure 719" in row.note
