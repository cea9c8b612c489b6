"""Two commits side by side: ratios by round, and how they are reported."""

import signal
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.comparison import median_interval, render_comparison, server_name, speed_ratios
from benchmarks.options import exit_with
from benchmarks.source_trees import SourceTree

TREES = [SourceTree(Path("a"), "working tree", "working tree: of b"), SourceTree(Path("b"), "7845b38", "7845b38: Old")]
THIS, OTHER = (server_name(tree) for tree in TREES)
ABOUT = {"hardware": {"processor": "a processor"}, "versions": {"grpcio": "1.85.3"}}


def test_ratio_above_one_means_faster():
    rounds = {THIS: [{"requests/s": 300.0, "p50 ms": 2.0}], OTHER: [{"requests/s": 200.0, "p50 ms": 1.0}]}
    assert speed_ratios(rounds, THIS, OTHER, "requests/s") == [1.5]
    assert speed_ratios(rounds, THIS, OTHER, "p50 ms") == [0.5]


def test_median_interval_is_from_order_statistics():
    """For n = 10 the 95 % interval is from the 2nd to the 9th value, for n = 20 from the 6th to the 15th."""
    assert median_interval([float(value) for value in range(10, 0, -1)]) == (2.0, 9.0)
    assert median_interval([float(value) for value in range(1, 21)]) == (6.0, 15.0)


def test_report_has_medians_ratios_and_each_round():
    values = zip((110.0, 90.0, 400.0), (100.0, 100.0, 200.0), strict=True)
    rounds = {THIS: [], OTHER: []}
    for this, other in values:
        rounds[THIS].append({"requests/s": this})
        rounds[OTHER].append({"requests/s": other})
    text = render_comparison({"throughput": rounds}, TREES, ABOUT)
    (row,) = [line for line in text.splitlines() if line.startswith("requests/s  ")]
    assert row.split()[1:5] == ["110", "100", "1.100", "-"]
    assert "requests/s by round: 1.100 0.900 2.000" in text
    assert "working tree: of b\n7845b38: Old\n" in text
    assert "a processor" in text
    assert "grpcio 1.85.3" in text


def test_unknown_commit_is_reported_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the program sets a handler for SIGTERM
    arguments = ["--against", "no-such-commit", "--work", str(tmp_path), "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="1"):
        exit_with("benchmarks", lambda: main(arguments))
    error = capsys.readouterr().err
    assert error.startswith("benchmarks: ")
    assert "no-such-commit" in error or "git cannot be run" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
