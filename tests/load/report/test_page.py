"""The report's page: one file that needs nothing else, escaped, with the verdict and the figures."""

import re
from html.parser import HTMLParser

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
        self.text.append(data.strip())


def parsed(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_page_holds_everything_escaped_and_loads_nothing(load_test, sweep, run):
    page = render_report(load_test(sweep, "p99=20ms"), run)
    parser = parsed(page)
    text = " ".join(parser.text)
    for expected in (
        "abacus <1>",
        "rnnserve load '<b>&'",
        "geometry 7",
        "Met: p99=20ms",
        "at 200 requests/s",
        "6,400",
        "verdict",
    ):
        assert expected in text
    tags = [tag for tag, _ in parser.elements]
    assert (tags.count("svg"), tags.count("tr")) == (6, 8)
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not re.search(r"https?:|@import|font-family: '", page)
    attributes = [(name, value) for _, attributes in parser.elements for name, value in attributes.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    references = re.findall(r"url\(([^)]*)\)", page) + [value for name, value in attributes if name in ("href", "src")]
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {reference.removeprefix("#") for reference in references} == set(ids)
