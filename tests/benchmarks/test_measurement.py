"""Turns of the servers: what is measured once more, and what ends a scenario."""

import contextlib
from types import SimpleNamespace

import pytest

from benchmarks import measurement, scenarios, server_names
from benchmarks.errors import LoadGeneratorFailed, ServerFailed

STEPS = next(scenario for scenario in scenarios.SCENARIOS if scenario.name == "steps")
METRICS = {"inferences/s": 8000.0, "p50 ms": 1.0, "p99 ms": 2.0}


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Measure a server in one round of `STEPS`; its turns end as told: with an error, or with METRICS after them."""

    def measure(name, *errors):
        ends = iter([*errors, METRICS])
        started = []

        def run_load_generator(*_):
            end = next(ends)
            if isinstance(end, Exception):
                raise end
            return end

        @contextlib.contextmanager
        def start_server(name, *_):
            started.append(name)
            yield SimpleNamespace(port=0, check_alive=lambda: None, end=lambda: None)

        monkeypatch.setattr(measurement, "_run_load_generator", run_load_generator)
        found = measurement.measure_scenario(STEPS, [name], 1, 1.0, tmp_path, {}, start_server)
        return found[name], len(started)

    monkeypatch.setattr(measurement, "read_requests", lambda *_: [None])
    monkeypatch.setattr(measurement, "check_answers", lambda *_, **__: 0)
    return measure


@pytest.mark.parametrize("error", [ServerFailed("status -11"), LoadGeneratorFailed("no end within 64 s")])
def test_a_server_that_is_started_for_each_turn_has_several_lives(measure, capsys, error):
    assert measure(server_names.TRITON_SEQUENCES, *[error] * 7) == ([METRICS], 9)  # one to check its answers
    assert capsys.readouterr().err.count("once more") == 7
    with pytest.raises(type(error), match=str(error)):
        measure(server_names.TRITON_SEQUENCES, *[error] * 8)


def test_another_server_has_one(measure):
    assert measure(server_names.LANE) == ([METRICS], 1)
    with pytest.raises(LoadGeneratorFailed, match=r"^rnnserve \(lane\): no end within 64 s$"):
        measure(server_names.LANE, LoadGeneratorFailed("no end within 64 s"))
