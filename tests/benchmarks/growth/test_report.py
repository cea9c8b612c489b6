"""The tables, the words and the plots of what was measured."""

import pytest

from benchmarks.growth.plot import draw_growth
from benchmarks.growth.report import render_growth
from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import COST, SIZES
from benchmarks.server_names import LANE

ABOUT = {"hardware": {"processor": "a processor"}, "versions": {"grpcio": "1.85.3"}}
LENGTH = next(size for size in SIZES if size.name == "length")


@pytest.fixture
def growth():
    found = Growth(LENGTH, failures={4096: "the server ended"})
    for round_ in (1.0, 1.5, 1.1):
        for point in (64, 256):
            found.add(point, LANE, {COST: 2.0 * point * round_, "p50 ms": 1.0})
            found.add(point, LENGTH.bound, {COST: 1.0 * point * round_})
    return found


def test_a_table_has_each_cost_beside_its_bound(growth):
    text = render_growth([growth], ABOUT)
    heading, header, first, second, *_ = text.splitlines()
    assert heading.endswith("(length; median of 3)")
    assert header.split("  ")[0] == "length"
    assert LENGTH.bound in header
    assert first.split()[:4] == ["64", "141", "70.4", "2.00"]
    assert second.split()[:4] == ["256", "563", "282", "2.00"]


def test_slopes_are_in_words_and_what_was_not_measured_says_why(growth):
    lines = render_growth([growth], ABOUT).splitlines()
    assert f"{COST}, {LANE}: linear from 64 to 256: 2.20 µs a step" in lines
    assert f"{COST}, {LENGTH.bound}: linear from 64 to 256: 1.10 µs a step" in lines
    assert "NOT MEASURED length 4,096: the server ended" in lines
    assert "hardware: processor a processor" in lines


def test_a_size_without_points_has_only_its_reasons():
    text = render_growth([Growth(LENGTH, failures={1: "no server", 4: "no server"})], ABOUT)
    assert text.count("NOT MEASURED") == 2
    assert COST not in text


def test_equal_results_give_equal_plots_and_no_point_gives_none(growth, tmp_path):
    assert draw_growth(growth, "a processor", tmp_path / "a.svg")
    assert draw_growth(growth, "a processor", tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert LENGTH.bound in (tmp_path / "a.svg").read_text()
    assert not draw_growth(Growth(LENGTH), "a processor", tmp_path / "c.svg")
    assert not (tmp_path / "c.svg").exists()
