"""Rows as lines of a file, and failures that hide no other results."""

import json
import math

import pytest

from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row, from_line, rows_or_failure, to_line


@pytest.mark.parametrize("cuda", [None, 0.25, math.inf])
def test_a_row_comes_back_from_its_line(cuda):
    row = Row("growth", "gru 16, batch 8", "µs", MEASURED, cpu=3.0, cuda=cuda, note="a\nb")
    line = to_line(row)
    assert "\n" not in line
    assert from_line(line) == row


def test_a_line_is_strict_json():
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    line = to_line(Row("proof", "rnn", "step", MEASURED, cpu=math.nan, cuda=math.inf))
    assert json.loads(line, parse_constant=refuse)["cuda"] == "inf"
    assert math.isnan(from_line(line).cpu)


def test_a_failure_keeps_the_rows_before_it_and_is_one_line(capsys):
    def find():
        yield Row("golden", "rnn", "first", HELD)
        raise RuntimeError("CUDNN failure 4000\n  in a kernel " + "x" * 1000)

    first, last = rows_or_failure("golden", "rnn", find)
    assert first.what == "first"
    assert (last.step, last.subject, last.verdict) == ("golden", "rnn", FAILED)
    assert last.note.startswith("RuntimeError: CUDNN failure 4000 in a kernel xxx")
    assert len(last.note) < 400
    assert "Traceback" in capsys.readouterr().err
