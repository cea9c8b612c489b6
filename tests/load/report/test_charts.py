"""What the charts show, read back from their SVG elements."""

import xml.etree.ElementTree as ET

import numpy as np

from rnnserve.load.report.charts import draw_charts


def drawn(test):
    """The charts of a test, by heading: each its SVG element."""
    charts = draw_charts(test, test.best or test.results[-1])
    return {chart.heading: ET.fromstring(chart.svg) for chart in charts}


def tooltips(svg):
    return [title.text for title in svg.iter("title")]


def labels(svg):
    return [text.text for text in svg.iter("text")]


def test_chart_is_drawn_if_there_are_data_for_it(load_test, sweep, result):
    assert list(drawn(load_test(sweep, "p99=1s"))) == [
        "Latency by percentile",
        "Latency by load",
        "Answers and errors per second, by load",
        "Send lag: the delay that the generator adds",
        "Answers by latency, at 6,400 requests/s",
        "Batches by size that the server ran, at 6,400 requests/s",
    ]
    assert list(drawn(load_test([result()]))) == ["Latency by percentile", "Answers by latency, at 100 requests/s"]
    assert drawn(load_test([result([], errors={"UNAVAILABLE": 5})])) == {}


def test_tooltips_and_limits_show_the_figures_at_each_load(load_test, sweep, result):
    charts = drawn(load_test([result([2], different=1, compared=1), result([4], rate=200, errors={"UNAVAILABLE": 3})]))
    assert "p99 at 200 requests/s: 4.00 ms" in tooltips(charts["Latency by load"])
    assert tooltips(charts["Answers and errors per second, by load"]) == [
        "1.0 answers/s", "1.0 answers/s", "0.0 errors/s", "3.0 errors/s", "1.0 wrong answers/s", "0.0 wrong answers/s",
    ]  # fmt: skip
    latencies = np.random.default_rng(2).exponential(3, 5000)
    charts = drawn(load_test([result(latencies, batches={1: 5, 2: 7, 119: 3, 120: 1})]))
    bars = tooltips(charts["Answers by latency, at 100 requests/s"])
    assert sum(int(text.rsplit(": ", 1)[1].replace(",", "")) for text in bars) == 5000
    bars = tooltips(charts["Batches by size that the server ran, at 100 requests/s"])
    assert bars == ["1 to 2 rows: 12", "119 to 120 rows: 4"]
    charts = drawn(load_test(sweep, "p99=15ms"))
    assert "p99 limit" in labels(charts["Latency by load"])
    names = tooltips(charts["Latency by percentile"])
    assert (len(names), names[0], names[-1]) == (6, "100 requests/s", "6,400 requests/s")
