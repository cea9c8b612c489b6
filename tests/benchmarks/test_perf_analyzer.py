"""perf_analyzer's report, and its processes."""

import sys
from types import SimpleNamespace

import pytest

from benchmarks.errors import LoadGeneratorFailed, Saturated, ServerFailed
from benchmarks.load_generators import perf_analyzer
from benchmarks.load_generators.perf_analyzer import _run, parse_report
from benchmarks.scenarios import LoadSettings
from kit.running_processes import is_running
from kit.waiting import until

HEAD = "Concurrency,Inferences/Second,Client Send,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency\n"


def test_its_figures_are_read_as_milliseconds():
    report = HEAD + "32,2400.29,3,1,11872,21185,25132,40357\n"
    assert parse_report(report) == {"inferences/s": 2400.29, "p50 ms": 11.872, "p99 ms": 40.357}


def test_a_server_that_tells_statistics_adds_columns():
    head = HEAD.replace("Client Recv,", "Network+Server Send/Recv,Server Queue,Server Compute Infer,Client Recv,")
    report = head + "32,100.5,3,10,20,30,1,1000,2000,3000,4000\n"
    assert parse_report(report) == {"inferences/s": 100.5, "p50 ms": 1.0, "p99 ms": 4.0}


@pytest.mark.parametrize("report", ["", HEAD, HEAD + "1,2,3,4,5,6,7,8\n" * 2])
def test_one_measurement_is_expected(report):
    with pytest.raises(LoadGeneratorFailed, match="expected one"):
        parse_report(report)


@pytest.mark.parametrize("report", ["Concurrency,Inferences/Second\n32,2400.29\n", HEAD + "32,100.5,3,1\n"])
def test_a_report_that_lacks_a_figure_is_refused(report):
    with pytest.raises(LoadGeneratorFailed, match="lacks"):
        parse_report(report)


SCRIPT = """
import pathlib, subprocess, sys
program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(str(program.pid))
program.wait()
"""


def test_what_does_not_end_is_ended_with_the_program_that_it_started(tmp_path):
    started = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        _run([sys.executable, "-c", SCRIPT, str(started)], 2.0, lambda: None)
    until(lambda: not is_running(int(started.read_text())))


@pytest.mark.parametrize(
    ("rate", "error", "words"),
    [(4000, Saturated, "fewer than 4,000 requests a second"), (0, LoadGeneratorFailed, "did not end within 64.5 s")],
)
def test_a_rate_that_is_not_answered_in_time_is_more_than_the_server_holds(tmp_path, monkeypatch, rate, error, words):
    def run(*_):
        raise TimeoutError

    monkeypatch.setattr(perf_analyzer, "_run", run)
    monkeypatch.setattr(perf_analyzer, "PERF_ANALYZER", SimpleNamespace(ensure=lambda: None, folder=tmp_path))
    load = LoadSettings("perf_analyzer", in_flight=0 if rate else 32, rate=rate, seconds=4.5)
    with pytest.raises(error, match=words):
        perf_analyzer.run_perf_analyzer(load, 4.5, 1, "model", "{}", tmp_path, lambda: None)


def test_it_is_ended_where_its_server_has_ended(tmp_path):
    def check():
        raise ServerFailed("it died")

    with pytest.raises(ServerFailed, match="it died"):
        _run([sys.executable, "-c", SCRIPT, str(tmp_path / "pid")], 50.0, check)


def test_its_status_and_words_are_given():
    assert _run([sys.executable, "-c", "print('words'); raise SystemExit(3)"], 20.0, lambda: None) == (3, "words\n")
