"""The report's page: one file, complete, escaped, and the same bytes for the same results."""

import os
import pickle
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from rnnserve.load.report import render_report


class Balanced(HTMLParser):
    """Collects elements and text, and fails if an element is closed by another."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_the_page_needs_nothing_else(load_test, sweep, run):
    page = render_report(load_test(sweep, "p99=15ms"), run)
    tags = {tag for tag, _ in parsed(page).elements}
    assert not {"script", "link", "img", "iframe"} & tags
    assert not re.search(r"https?:|@import|font-family: '", page)
    attributes = [(name, value) for _, attributes in parsed(page).elements for name, value in attributes.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    references = re.findall(r"url\(([^)]*)\)", page) + [value for name, value in attributes if name in ("href", "src")]
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {reference.removeprefix("#") for reference in references} == set(ids)


def test_the_page_holds_everything_escaped(load_test, sweep, run):
    parser = parsed(render_report(load_test(sweep, "p99=20ms"), run))
    text = " ".join(parser.text)
    for expected in (
        "abacus <1>",
        "rnnserve load '<b>&'",
        "geometry 7",
        "Held: p99=20ms, 99% confidence",
        "at 200 requests/s",
        "6,400",
        "verdict",
    ):
        assert expected in text
    assert sum(tag == "svg" for tag, _ in parser.elements) == 6
    assert sum(tag == "tr" for tag, _ in parser.elements) == 8
    assert all(attributes["aria-label"] for tag, attributes in parser.elements if tag == "svg")


def test_every_colour_of_a_chart_is_the_style_sheets_in_both_themes(load_test, sweep, run):
    page = render_report(load_test(sweep, "p99=15ms"), run)
    style, charts = page.split("</style>")
    used = set(re.findall(r"var\((--[a-z0-9]+)\)", charts))
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    assert {"--c0", "--c5", "--card", "--soft", "--rule", "--bad"} <= used
    for theme in (light, dark[: dark.index("}")]):
        assert used <= set(re.findall(r"(--[a-z0-9]+):", theme))
    assert not re.findall(r"(?:fill|stroke): #[0-9a-f]+", charts)


@pytest.mark.parametrize(("slo", "verdict"), [(None, "Failed"), ("p99=1us", "Not held")])
def test_a_page_of_a_test_without_answers(load_test, result, run, slo, verdict):
    page = render_report(load_test([result([], errors={"UNAVAILABLE": 5}), result([], rate=200)], slo), run)
    assert verdict in page
    assert "UNAVAILABLE" in page


@pytest.mark.parametrize(
    ("slo", "sums", "verdict", "name"),
    [
        (None, {}, "Passed", "good"),
        (None, {"errors": {"UNAVAILABLE": 1}}, "Failed", "bad"),
        ("p99=5ms", {}, "Held: p99=5ms, 99% confidence", "good"),
        ("p99=1us", {}, "Not held: p99=1us, 99% confidence", "bad"),
        ("p99.9=5ms", {}, "Undecided: p99.9=5ms, 99% confidence", "open"),
        ("p99=5ms", {"checked": 5, "wrong": 1}, "Failed: answers were wrong. Held: p99=5ms, 99% confidence", "bad"),
    ],
)
def test_the_page_shows_the_verdict(load_test, result, run, slo, sums, verdict, name):
    parser = parsed(render_report(load_test([result([1.0] * 1000, **sums)], slo), run))
    assert verdict in [text.strip() for text in parser.text]
    assert ("section", {"class": f"verdict {name}"}) in parser.elements


def test_batch_sizes_are_left_out_if_the_server_does_not_report_them(load_test, result, run):
    assert "Batches by size" not in render_report(load_test([result()]), run)


def test_the_same_results_give_the_same_bytes_whatever_matplotlibrc_says(load_test, result, run, tmp_path):
    test = load_test([result([1, 2, 3], batches={1: 2}), result([2, 3], rate=200)], "p99=5ms")
    here = render_report(test, run)
    assert render_report(test, run) == here
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsvg.fonttype: path\nsavefig.bbox: tight\n")
    code = (
        "import pickle, sys; from rnnserve.load.report import render_report; "
        "sys.stdout.buffer.write(render_report(*pickle.load(sys.stdin.buffer)).encode())"
    )
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path), "PYTHONHASHSEED": "5"}
    there = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((test, run)), capture_output=True, check=True, env=environment
    )
    assert there.stdout.decode() == here


def test_a_page_of_sessions_has_their_jitter(load_test, result, run):
    page = render_report(load_test([result([1, 2, 6], sessions=3), result([1, 2], sessions=8)]), run)
    text = " ".join(parsed(page).text)
    for expected in ("deviation", "2.16 ms", "p99-p50", "4.00 ms", "p99.9", "Send lag", "3 sessions", "8 sessions"):
        assert expected in text
