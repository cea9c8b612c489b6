"""The files with the results."""

import json
from pathlib import Path
from typing import Any

from benchmarks.comparison import server_name
from benchmarks.plot import draw_plot
from benchmarks.results import write_comparison, write_report
from benchmarks.server_names import CONSTANT, LANE, TRITON
from benchmarks.source_trees import SourceTree

DESCRIPTION = {"hardware": {"processor": "a processor"}, "versions": {"grpcio": "1.85.3"}}


def test_a_report_is_written_with_rounds_and_goals(tmp_path):
    found = {"throughput": {LANE: [{"requests/s": 95.0}], CONSTANT: [{"requests/s": 100.0}]}}
    write_report(tmp_path / "results", found, DESCRIPTION, "the text\n", quick=True)
    results = json.loads((tmp_path / "results" / "bench.json").read_text())
    assert results["hardware"] == {"processor": "a processor"}
    assert results["quick"] is True
    assert results["scenarios"]["throughput"]["rounds"] == found["throughput"]
    (goal,) = results["targets"]
    assert (goal["to reach"], goal["found"], goal["reached"]) == (f"at least 0.9 x {CONSTANT}", 0.95, True)
    assert (tmp_path / "results" / "bench.txt").read_text() == "the text\n"
    assert "a processor" in (tmp_path / "results" / "bench.svg").read_text()


def test_equal_results_give_equal_plots_and_no_scenario_gives_none(tmp_path):
    found: Any = {"throughput": {LANE: [{"requests/s": 95.0}, {"requests/s": 90.0}], TRITON: [{}]}}
    assert draw_plot(found, "title", tmp_path / "a.svg")
    assert draw_plot(found, "title", tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert not draw_plot({"start": {LANE: [{"ready s": 1.0}]}}, "title", tmp_path / "c.svg")
    assert not (tmp_path / "c.svg").exists()


def test_a_comparison_is_written_with_both_trees(tmp_path):
    trees = [SourceTree(Path("a"), "working tree", "working tree: of b"), SourceTree(Path("b"), "b", "b: Old")]
    found = {"alone": {server_name(tree): [{"p50 ms": 1.0}] for tree in trees}}
    write_comparison(tmp_path, found, trees, DESCRIPTION, "the text\n")
    results = json.loads((tmp_path / "compare.json").read_text())
    assert list(results["trees"].values()) == ["working tree: of b", "b: Old"]
    assert results["scenarios"] == found
    assert (tmp_path / "compare.txt").read_text() == "the text\n"
