"""The text is what Prometheus reads, and scrapers get it whatever others do."""

import http.client
import re
import shutil
import socket
import subprocess

import pytest

from rnnserve.server.counting import places
from rnnserve.server.counting.endpoint import MetricsEndpoint
from rnnserve.server.counting.exposition import Exposition
from rnnserve.server.counting.table import OTHER
from rnnserve.server.counting.totals import Total, Totals
from rnnserve.server.errors import NotFound

SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


def total(**numbers):
    made = Total({"graph": "native"})
    for name, number in numbers.items():
        made.counts[getattr(places, name)] = number
    return made


def totals():
    served = total(ANSWERED=7, HTTP_ANSWERED=2, REFUSED_AFTER_RUN=1, ROWS=9, READY=2, QUEUED=4, WAIT_SECONDS=0.5)
    served.counts[places.RUN_BUCKETS + 1] = 3
    served.counts[places.REQUEST_RUN_SECONDS] = 1.25
    served.counts[places.ANSWER_BUCKETS] = 2
    served.counts[places.ANSWER_BUCKETS + 3] = 4
    served.counts[places.WAIT_BUCKETS - 1] = 1
    for place in range(places.REFUSED, places.PLACES):
        served.counts[place] = place
    other = Total()
    other.counts[places.refusal_place(NotFound("no"))] = 3
    return {("", ""): total(HELD_BYTES=10, LOADED=2), (OTHER, ""): other, ('a"b\\c\n', "1"): served}


class Counted(Totals):
    def sums(self):
        return totals()


def text(accept=""):
    counted = Counted()
    counted.restarts["died"] = 2
    return Exposition(counted, "1.2").text(accept)[0].decode()


def samples(said):
    return {(m[1], m[2] or ""): float(m[3]) for line in said.splitlines() if (m := SAMPLE.fullmatch(line))}


def test_promtool_has_no_complaint():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=text(), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    assert all("nv_inference_" in line for line in done.stderr.splitlines())


def test_answers_and_refusals_are_what_callers_were_told():
    found = samples(text())
    of = {name: value for name, value in found.items() if name[0] == "rnnserve_requests_total"}
    model = r'model="a\"b\\c\n"'
    assert of["rnnserve_requests_total", f'code="OK",{model},protocol="grpc",version="1"'] == 4
    assert of["rnnserve_requests_total", f'code="OK",{model},protocol="http",version="1"'] == 2
    assert of["rnnserve_requests_total", 'code="NOT_FOUND",model="other",protocol="grpc",version=""'] == 3
    assert of["rnnserve_requests_total", 'code="NOT_FOUND",model="other",protocol="http",version=""'] == 0
    assert not any('code="OK"' in labels for (_, labels) in of if OTHER in labels)
    of_http = sum(value for (_, labels), value in of.items() if model in labels and '"http"' in labels)
    assert of_http == 2 + sum(range(places.HTTP_REFUSED, places.PLACES))
    by_code = sum(value for (_, labels), value in of.items() if model in labels and '"OK"' not in labels)
    by_reason = sum(v for (n, labels), v in found.items() if n == "rnnserve_refusals_total" and model in labels)
    triton = sum(v for (n, labels), v in found.items() if n == "nv_inference_request_failure" and model in labels)
    assert by_code == by_reason == triton == sum(range(places.REFUSED, places.PLACES))


def test_histograms_are_cumulative_and_end_with_all():
    found = samples(text())
    model = r'model="a\"b\\c\n",version="1"'
    name = "rnnserve_request_duration_seconds"
    buckets = [value for (n, labels), value in found.items() if n == f"{name}_bucket"]
    assert buckets == sorted(buckets)
    assert len(buckets) == 18
    assert found[f"{name}_bucket", f'le="+Inf",{model}'] == found[f"{name}_count", model] == 7
    assert found[f"{name}_bucket", f'le="0.0002",{model}'] == 2
    assert found[f"{name}_sum", model] == 1.75
    assert found["nv_inference_request_duration_us", model] == 1.75e6


def test_scraper_may_ask_for_openmetrics():
    assert text("application/openmetrics-text; version=1.0.0").endswith("# EOF\n")


@pytest.fixture
def scraped():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    endpoint = MetricsEndpoint([listener], lambda accept: (b"a 1\n", f"text/plain{accept}"))
    endpoint.start()
    yield port
    endpoint.stop()


def ask(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, reply.headers["Content-Type"], reply.read()
    finally:
        connection.close()


def test_a_scrape_is_answered_and_nothing_else(scraped):
    assert ask(scraped, "GET", "/metrics?x=1") == (200, "text/plain", b"a 1\n")
    assert ask(scraped, "HEAD", "/metrics") == (200, "text/plain", b"")
    assert ask(scraped, "GET", "/secret")[0] == 404
    assert ask(scraped, "POST", "/metrics")[0] == 405


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\n", b"x" * 20000, b"\r\n\r\n"])
def test_one_that_asks_for_nothing_keeps_no_other_from_it(scraped, sent):
    with socket.create_connection(("127.0.0.1", scraped)) as idle:
        idle.sendall(sent)
        assert ask(scraped, "GET", "/metrics")[0] == 200
