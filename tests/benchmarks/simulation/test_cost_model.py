import numpy as np
import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.simulation.__main__ import main
from benchmarks.simulation.calibration import _SIZES
from benchmarks.simulation.cost_model import CostModel, MeasuredRun, fit_costs, read_cost_model, write_cost_model
from benchmarks.simulation.fleet import Fleet, simulate
from benchmarks.simulation.shared_core import rate_of, requests_of

TRUE = CostModel(80e-6, 2e-6, 0.6e-6, 0.2e-6, 120e-6, 0.01e-6, rows=16, facts={"model": "one"})


def measured(costs, noise=0.0):
    """What would be measured of these costs."""
    draw, found = np.random.default_rng(4), []
    for rows, shortest, longest in _SIZES:
        one = MeasuredRun(rows, shortest, longest, 0.0, 0.0)
        most = one.expected_longest
        run = costs.run_seconds(rows, most, one.expected_points) * draw.uniform(1 - noise, 1 + noise)
        beside = costs.beside_seconds(rows, most) * draw.uniform(1 - noise, 1 + noise)
        found.append(MeasuredRun(rows, shortest, longest, run, beside))
    return found


@pytest.mark.parametrize(("rows", "shortest", "longest"), [(1, 1, 64), (16, 1, 64), (4, 10, 13), (5, 7, 7)])
def test_the_longest_of_several_rows(rows, shortest, longest):
    lengths = np.random.default_rng(2).integers(shortest, longest + 1, (20_000, rows))
    one = MeasuredRun(rows, shortest, longest, 0.0, 0.0)
    assert one.expected_longest == pytest.approx(lengths.max(axis=1).mean(), rel=0.01)
    assert one.expected_points == pytest.approx(lengths.sum(axis=1).mean(), rel=0.01)


def test_the_fit_finds_costs_again():
    found = fit_costs(measured(TRUE), 16, {})
    for name in ("run", "step", "point", "padding", "request", "copy"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=1e-6)
    assert found.worst_error < 1e-9
    noisy = fit_costs(measured(TRUE, noise=0.05), 16, {})
    assert 0.001 < noisy.worst_error < 0.1


def test_no_cost_is_negative():
    """Of shorter runs that took longer, steps would have less than no cost."""
    odd = [MeasuredRun(2, n, n, 1e-3 / n, 1e-4) for n in (1, 2, 4, 8, 16)]
    found = fit_costs(odd, 2, {})
    assert min(found.run, found.step, found.point, found.padding, found.request, found.copy) == 0
    with pytest.raises(BenchmarkError, match="3 measured runs are too few"):
        fit_costs(odd[:3], 2, {})


def test_a_rate_uses_the_part_of_a_core_that_it_is_for():
    """Few requests share runs at a low load, so that the simulated use is that of requests alone."""
    size = (16, 1, 64)
    rate = rate_of(TRUE, size, 0.2)
    found = simulate(Fleet(1), TRUE, requests_of(size), rate, 20_000 / rate, seed=1)
    assert found.used[0] == pytest.approx(0.2, rel=0.06)


def test_what_is_written_is_read_again(tmp_path):
    costs = fit_costs(measured(TRUE), 16, {"model": "one"})
    write_cost_model(costs, tmp_path / "folder" / "costs.json")
    assert read_cost_model(tmp_path / "folder" / "costs.json") == costs


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory); `python -m benchmarks.simulation --calibrate REPOSITORY`"),
        ("{", "is not a cost model ("),
        ("[]", "is not a cost model ("),
        ('{"format": "rnnserve load 1"}', "is not a cost model of this version"),
        ('{"format": "rnnserve simulation cost 1", "measured": []}', "is not a cost model ("),
    ],
)
def test_a_file_that_is_no_cost_model_is_refused_in_one_line(content, said, tmp_path, capsys):
    path = tmp_path / "costs.json"
    if content is not None:
        path.write_text(content)
    assert main(["--costs", str(path)]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"simulation: {path}: {said}")
    assert errors.count("\n") == 1


def test_the_studies_are_printed(tmp_path, capsys):
    write_cost_model(fit_costs(measured(TRUE), 16, {"model": "one"}), tmp_path / "costs.json")
    words = ["--costs", str(tmp_path / "costs.json"), "--most-requests", "3000"]
    assert main([*words, "--proxies", "2", "--proxy-rate", "1000"]) == 0
    said = capsys.readouterr().out
    assert "a run takes 80 µs + 2 µs a step + 0.6 µs a row and step + 0.2 µs a padded one" in said
    assert "proxies, at 2,000/s" in said
    assert "1,000,000/s" in said
    assert "6 servers, one killed" in said
    assert main([*words, "--only", "reports", "--length", "8", "--rows", "2"]) == 0
    said = capsys.readouterr().out
    assert "a request has 2 rows of 8 to 8 steps" in said
    assert "to a million" not in said
    assert said.count("least_reported") == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--length", "9:3"], "expected steps from 1, the smaller number first"),
        (["--length", "x"], "expected steps: 16, or 1:64"),
        (["--most-requests", "0"], "is not a whole number of 1 or more"),
        (["--proxies", "2"], "--proxies needs --proxy-rate"),
    ],
)
def test_wrong_options_are_named(words, said, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert said in capsys.readouterr().err
