"""The one table, and the files."""

import json
import subprocess

from benchmarks.gpu.report import count_verdicts, describe_hardware, render_table, write_report
from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row

ROWS = [
    Row("nodes", "rnn", "nodes", HELD, cpu=2, cuda=7, note="on the CPU: 2 Gather"),
    Row("golden", "gru", "golden results on cuda", FAILED, note="a | b\nc"),
    Row("growth", "gru 16, batch 8", "µs for 64 steps", MEASURED, 1234.5, 0.00012345, limit=float("inf")),
]


def test_a_row_of_the_table_has_a_cell_for_each_column():
    text = render_table(ROWS, {"GPU": "one of them"}, rehearsed=False)
    assert text.startswith("# CUDA, measured\n\n- GPU: one of them\n\n1 held, 1 FAILED, 1 measured.\n")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.replace(r"\|", "").count("|") for line in table] == [9] * 5
    assert table[2] == "| nodes | rnn | nodes | 2 | 7 |  | held | on the CPU: 2 Gather |"
    assert table[3].endswith(r"| FAILED | a \| b c |")
    assert "| 1,234 | 0.000123 | inf |" in table[4]


def test_a_rehearsal_cannot_be_taken_for_a_measurement(tmp_path):
    written = write_report(tmp_path, ROWS, {}, rehearsed=True)
    assert (
        sorted(path.name for path in written)
        == ["rehearsal.json", "rehearsal.md"]
        == sorted(path.name for path in tmp_path.iterdir())
    )
    assert "nothing here is about CUDA" in (tmp_path / "rehearsal.md").read_text()
    assert json.loads((tmp_path / "rehearsal.json").read_text())["rehearsed"] is True


def test_json_has_all_rows_and_counts(tmp_path):
    data, table = write_report(tmp_path, ROWS, {"GPU": "one"}, rehearsed=False)
    document = json.loads(data.read_text())
    assert (data.name, table.name) == ("gpu.json", "gpu.md")
    assert document["verdicts"] == count_verdicts(ROWS) == {HELD: 1, FAILED: 1, MEASURED: 1}
    assert [row["cuda"] for row in document["rows"]] == [7, None, 0.00012345]
    assert document["rows"][2]["limit"] == "inf"


def test_the_gpu_is_named_where_there_is_a_driver(monkeypatch):
    def answer(command, **_):
        return subprocess.CompletedProcess(command, 0, "NVIDIA A, 580.1, 24564 MiB\nNVIDIA B, 580.1, 24564 MiB\n")

    monkeypatch.setattr(subprocess, "run", answer)
    facts = describe_hardware()
    assert facts["GPU, driver, memory"] == "NVIDIA A, 580.1, 24564 MiB; NVIDIA B, 580.1, 24564 MiB"
    assert {"torch", "rnnserve"} <= facts.keys()

    def fail(*_, **__):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", fail)
    assert "GPU, driver, memory" not in describe_hardware()
