"""`python -m benchmarks.gpu`: refusals, the steps it chooses, and its exit status."""

import onnxruntime as ort
import pytest

from benchmarks.errors import MissingDependency
from benchmarks.gpu import __main__ as program
from benchmarks.gpu.rows import FAILED, HELD, Row
from rnnserve.server.repository.cuda_trial import find_cuda_fault

HAS_GPU = "CUDAExecutionProvider" in ort.get_available_providers() and find_cuda_fault() is None


@pytest.fixture
def run(monkeypatch, tmp_path):
    """`run(*arguments, verdict=…)`: runs the command with stand-ins for the steps; gives its status and the steps."""

    def call(*arguments, verdict=HELD, missing=""):
        asked = []

        def check(*, needs_cuda):
            asked.append(("needs CUDA", needs_cuda))
            if missing:
                raise MissingDependency(missing)

        def step(name, work, device, seconds):
            assert (work, seconds) == (tmp_path / "work", 1800)
            asked.append((name, device))
            return [Row(name, "rnn", "tried", verdict if name == "golden" else HELD)]

        monkeypatch.setattr(program, "check_requirements", check)
        monkeypatch.setattr(program, "run_step", step)
        folders = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "out")]
        return program.main([*arguments, *folders]), asked

    return call


def test_all_steps_on_cuda(run, tmp_path, capsys):
    status, asked = run()
    assert status == 0
    assert asked[0] == ("needs CUDA", True)
    assert asked[1:] == [(s, "cuda") for s in ("publish", "nodes", "golden", "proof", "serving", "growth")]
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "out" / "gpu.md").read_text()
    assert "step 1 of 6: publish" in printed.err


def test_something_that_did_not_hold_is_status_1_after_all_steps(run):
    status, asked = run(verdict=FAILED)
    assert status == 1
    assert asked[-1] == ("growth", "cuda")


def test_something_missing_is_one_line_and_nothing_is_tried(run, tmp_path, capsys):
    status, asked = run(missing="not installed: torch; no CUDA device")
    assert (status, asked) == (2, [("needs CUDA", True)])
    assert capsys.readouterr() == ("", "benchmarks.gpu: not installed: torch; no CUDA device\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("only", "steps"),
    [("growth", ["growth"]), ("proof", ["publish", "proof"]), ("growth,nodes", ["publish", "nodes", "growth"])],
)
def test_chosen_steps_have_their_models(run, only, steps):
    assert [step for step, _ in run("--only", only)[1][1:]] == steps


def test_a_rehearsal_needs_no_cuda(run, tmp_path):
    assert run("--rehearse", "--only", "nodes") == (0, [("needs CUDA", False), ("publish", "cpu"), ("nodes", "cpu")])
    assert (tmp_path / "out" / "rehearsal.md").is_file()
    assert not (tmp_path / "out" / "gpu.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "speed"], "there is no step 'speed'; choose from publish, nodes,"),
        (["--timeout", "nan"], "more than 0"),
    ],
)
def test_mistakes_in_the_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        program.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs CUDA")
def test_everything_holds_on_cuda(tmp_path, capsys):
    folders = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "out")]
    assert program.main(["--only", "publish,nodes,golden,proof,serving", *folders]) == 0, capsys.readouterr().out
