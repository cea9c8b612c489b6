"""What is told: table, JSON, plots and the page."""

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from rnnserve.client.load import charts
from rnnserve.client.load.campaign import Campaign
from rnnserve.client.load.context import Context
from rnnserve.client.load.discovery import ServerDescription
from rnnserve.client.load.document import document
from rnnserve.client.load.histogram import Histogram
from rnnserve.client.load.judge import parse_objective
from rnnserve.client.load.machine import describe_machine
from rnnserve.client.load.report import report
from rnnserve.client.load.svg import Bars, Line, linear, logarithmic, plot
from rnnserve.client.load.table import findings, table


def campaign(points, slo=None, models=("walks",)):
    return Campaign(None, None, models, None, parse_objective(slo) if slo else None, list(points))


@pytest.fixture
def context(metadata):
    return Context(
        started="2026-11-25T01:00:00+00:00",
        command="rnnserve load '<b>&'",
        address="127.0.0.1:1",
        server=ServerDescription("geometry", "7"),
        models=(metadata(),),
        machine={"processor": "abacus <1>"},
        workload={"lengths": "4"},
    )


@pytest.fixture
def many(point):
    random = np.random.default_rng(1)
    return [
        point(random.exponential(rate / 100, 500), rate=rate, batches={1: 400, 3: 20}, checked=500, wrong=0)
        for rate in (100, 200, 400, 800, 1600, 3200, 6400)
    ]


def test_the_table_has_a_line_for_each_load(point):
    lines = table(campaign([point([1, 2, 3]), point([4], rate=2500, seconds=0.5, checked=1)])).splitlines()
    assert lines[0].split()[:6] == ["requests/s", "answers/s", "p50", "p90", "p99", "p99.9"]
    assert lines[1].startswith("100 ")
    assert "2.00 ms" in lines[1]
    assert lines[2].startswith("2,500 ")
    assert len({len(line) for line in lines[:3]}) == 1


def test_several_models_have_lines_of_their_own(point):
    one = Histogram()
    one.record(np.array([7_000_000]))
    lines = table(campaign([point(latency_of={"a": one, "b": one})], models=("a", "b"))).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["a", "b"]
    assert "7.00 ms" in lines[2]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"errors": {"UNAVAILABLE": 3}, "details": {"UNAVAILABLE": "gone"}}, "3 x UNAVAILABLE, the first: gone"),
        ({"checked": 10, "wrong": 4}, "4 of 10 labels are wrong (40.0%)"),
        ({"checked": 10}, "all 10 are as expected"),
        ({}, "not checked"),
        ({"seconds": 0.25}, "cut short after 0.2 s"),
        ({"cpu": 0.99}, "the generator, not the server"),
        ({"closed": 4}, "closed loop"),
    ],
)
def test_what_figures_do_not_say_is_said(point, settings, said):
    assert said in "\n".join(findings(campaign([point(**settings)])))


@pytest.mark.parametrize(
    ("slo", "said", "passed"),
    [
        ("p99=500ms", "holds at 6,400 requests/s", True),
        ("p99=15ms", "holds at 200 requests/s, not at 400 requests/s (p99 was", True),
        ("p99=1us", "does not hold, not even at 100 requests/s", False),
    ],
)
def test_the_verdict_names_the_rate_on_each_side(many, slo, said, passed):
    found = campaign(many, slo)
    assert said in findings(found)[-1]
    assert found.passed is passed


def test_wrong_labels_and_errors_fail(point):
    assert campaign([point()]).passed
    assert not campaign([point(checked=5, wrong=1)]).passed
    assert not campaign([point(checked=5, wrong=1)], "p99=5s").passed
    assert not campaign([point(), point(errors={"UNAVAILABLE": 1})]).passed
    # Beyond the rate that holds, a server may refuse.
    assert campaign([point(), point(errors={"RESOURCE_EXHAUSTED": 1}, rate=1000)], "p99=5s").passed


def test_the_document_is_json_and_holds_the_histogram(many, context):
    found = json.loads(json.dumps(document(campaign(many, "p99=15ms"), context)))
    assert (found["format"], found["passed"], found["objective"]["holds_at"]) == ("rnnserve load 1", True, 200)
    first = found["points"][0]
    assert (first["rate"], first["closed"], first["sent"]) == (100, None, 500)
    assert sum(count for _, count in first["latency"]["buckets"]) == first["latency"]["count"] == 500
    assert first["latency"]["percentiles"]["50"] == many[0].tally.latency.percentile(50)
    assert first["batches"] == {"1": 400, "3": 20}


def test_batch_sizes_are_left_out_where_the_server_does_not_tell(point, context):
    found = campaign([point()])
    assert "batches" not in document(found, context)["points"][0]
    assert "Batches by size" not in report(found, context)


class Balanced(HTMLParser):
    """Notes elements, and complains of one that is closed by another."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_stands_alone(many, context):
    page = report(campaign(many, "p99=15ms"), context)
    read = Balanced()
    read.feed(page)
    assert read.open == []
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in read.seen}
    assert not re.search(r"https?:|url\(|@import", page)
    text = " ".join(read.text)
    for expected in ("abacus <1>", "rnnserve load '<b>&'", "geometry 7", "Passed", "holds at 200 requests/s", "6,400"):
        assert expected in text
    assert sum(tag == "svg" for tag, _ in read.seen) == 6
    assert sum(tag == "tr" for tag, _ in read.seen) == 8


@pytest.mark.parametrize("slo", [None, "p99=1us"])
def test_a_page_of_a_test_without_answers(point, context, slo):
    page = report(campaign([point([], errors={"UNAVAILABLE": 5}), point([], rate=200)], slo), context)
    assert "Failed" in page
    assert "UNAVAILABLE" in page


@pytest.mark.parametrize("latencies", [[1], [1] * 1000, [0.0001, 9000], [0]])
def test_plots_of_odd_latencies_are_drawn(point, latencies):
    points = [point(latencies), point(latencies, rate=5)]
    drawn = [
        charts.latency_by_percentile(points)[0],
        charts.latency_by_load(points, None)[0],
        charts.lag_by_load(points)[0],
        charts.errors_by_load(points)[0],
        charts.latency_histogram(points[0].tally.latency),
        charts.batch_sizes({1: 1}),
        charts.batch_sizes({size: size for size in range(1, 500, 7)}),
    ]
    for svg in drawn:
        inside_the_frame(svg)


def inside_the_frame(svg):
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter():
        for x in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(x, 0)) <= width
        for y in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(y, 0)) <= height
        assert float(element.get("height", 0)) >= 0
        for place in element.get("points", "").split():
            left, up = map(float, place.split(","))
            assert 0 <= left <= width
            assert 0 <= up <= height
    return root


def test_the_histogram_leaves_no_answer_out(point):
    latency = point(np.random.default_rng(2).exponential(3, 5000)).tally.latency
    hints = [title.text for title in inside_the_frame(charts.latency_histogram(latency)).iter("title")]
    assert sum(int(hint.rsplit(": ", 1)[1].replace(",", "")) for hint in hints) == 5000


def test_axes_end_at_round_numbers():
    axis = linear("", [3, 97], str)
    assert (axis.low, axis.high) == (0, 100)
    assert [tick for tick, _ in axis.ticks] == [0, 20, 40, 60, 80, 100]
    axis = logarithmic("", [130, 4200], str)
    assert (axis.low, axis.high) == (100, 5000)
    assert [tick for tick, _ in axis.ticks] == pytest.approx([100, 200, 500, 1000, 2000, 5000])
    assert axis.place(100) == 0
    assert axis.place(5000) == 1
    assert axis.place(1) == 0


@pytest.mark.parametrize("values", [[], [0], [5], [5, 5], [1e-9, 1e12]])
def test_axes_of_odd_values_have_a_length(values):
    for make in (linear, logarithmic):
        axis = make("", values, str)
        assert axis.high > axis.low
        assert axis.ticks


def test_marks_are_drawn_where_their_values_are():
    x, y = linear("x", [10], str), linear("y", [10], str)
    svg = plot("p", x, y, [Line("l", [(0, 0), (10, 10)], marked=True), Bars("b", [(0, 5, 10)])], limits=[(5, "limit")])
    root = inside_the_frame(svg)
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter("circle")]
    assert dots == [(80, 274), (608, 14)]
    (bar,) = root.iter("rect")
    assert (float(bar.get("y")), float(bar.get("height")), float(bar.get("width"))) == (14, 260, 263)
    assert [text.text for text in root.iter("text") if text.get("class") == "limit"] == ["limit"]


def test_the_machine_is_described():
    machine = describe_machine()
    assert {"cores", "system", "python", "grpcio", "numpy"} <= set(machine)
    assert all(machine.values())
