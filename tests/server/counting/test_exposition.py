"""The metrics text: what Prometheus reads."""

import re
import shutil
import subprocess

import pytest

from rnnserve.server.counting import places
from rnnserve.server.counting.exposition import Exposition, Totals
from rnnserve.server.counting.table import CountTable
from rnnserve.server.errors import NotFound

SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


def text(accept=""):
    """The text of a server with one version, whose name has to be escaped."""
    table, totals = CountTable(), Totals()
    totals.add(table)
    row = table.row('a"b\\c\n', "1")
    for place, number in {
        places.ANSWERED: 7, places.HTTP_ANSWERED: 2, places.REFUSED_AFTER_RUN: 1, places.ROWS: 9, places.READY: 2,
        places.QUEUED: 4, places.WAIT_SECONDS: 0.5, places.REQUEST_RUN_SECONDS: 1.25, places.RUN_BUCKETS + 1: 3,
        places.ANSWER_BUCKETS: 2, places.ANSWER_BUCKETS + 3: 4, places.WAIT_BUCKETS - 1: 1,
    }.items():  # fmt: skip
        row[place] = number
    for place in range(places.REFUSED, places.PLACES):
        row[place] = place
    table.other[places.refusal_place(NotFound("no"))] = 3
    table.process[places.WORKER_RESTARTS["died"]] = 2
    return Exposition(totals, "1.2").text(accept)[0].decode()


def samples(said):
    return {(m[1], m[2] or ""): float(m[3]) for line in said.splitlines() if (m := SAMPLE.fullmatch(line))}


def test_metrics_pass_promtool():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=text(), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    assert all("nv_inference_" in line for line in done.stderr.splitlines())


def test_requests_total_counts_answers_and_refusals_by_code():
    found = samples(text())
    of = {name: value for name, value in found.items() if name[0] == "rnnserve_requests_total"}
    model = r'model="a\"b\\c\n"'
    assert of["rnnserve_requests_total", f'code="OK",{model},protocol="grpc",version="1"'] == 4
    assert of["rnnserve_requests_total", f'code="OK",{model},protocol="http",version="1"'] == 2
    assert of["rnnserve_requests_total", 'code="NOT_FOUND",model="other",protocol="grpc",version=""'] == 3
    assert of["rnnserve_requests_total", 'code="NOT_FOUND",model="other",protocol="http",version=""'] == 0
    assert of["rnnserve_requests_total", 'code="OK",model="other",protocol="grpc",version=""'] == 0
    assert ("rnnserve_model_ready", 'model="other",version=""') not in found
    of_http = sum(value for (_, labels), value in of.items() if model in labels and '"http"' in labels)
    assert of_http == 2 + sum(range(places.HTTP_REFUSED, places.PLACES))
    by_code = sum(value for (_, labels), value in of.items() if model in labels and '"OK"' not in labels)
    by_reason = sum(v for (n, labels), v in found.items() if n == "rnnserve_refusals_total" and model in labels)
    triton = sum(v for (n, labels), v in found.items() if n == "nv_inference_request_failure" and model in labels)
    assert by_code == by_reason == triton == sum(range(places.REFUSED, places.PLACES))


def test_histograms_are_cumulative_and_end_with_the_total():
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
    assert found["rnnserve_worker_restarts_total", 'reason="died"'] == 2


def test_scraper_can_request_openmetrics():
    assert text("application/openmetrics-text; version=1.0.0").endswith("# EOF\n")
