"""`rnnserve load` with models of any kind, with samples, and with sessions."""

import json
from typing import Any

import numpy as np
import pytest

from kit.fakes import FakeModel, FakeModels, serving

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1"]


@pytest.fixture
def counted():
    """A server of a model that sums token ids, and from its tenth answer on adds `counted.drift`."""

    class Counted(FakeModels):
        drift: float = 0
        address = ""

        def compute(self, tensors):
            drift = self.drift if len(self.asked) >= 10 else 0
            return {"sum": (tensors["tokens"].sum(axis=1, keepdims=True) + drift).astype("<f4")}

    service: Any = Counted({})  # type: ignore[abstract]
    inputs = {
        "tokens": ("INT64", ("batch", "sequence"), {"low": 3, "high": 6}),
        "lengths": ("INT64", ("batch",), {"lengths_of": "sequence", "optional": True}),
    }
    outputs = {"sum": ("FP32", ("batch", ("sum", 1)))}
    service.models["count"] = FakeModel(inputs, outputs, service.compute, {"batch_invariant": "true"})
    with serving(service) as address:
        service.address = address
        yield service


def test_any_model_is_asked_and_its_answers_agree_with_their_first(load, counted):
    status, output, errors = load(*QUICK, "--batch", "2", "--length", "1:5", url=counted.address)
    assert status == 0, errors
    tokens = np.concatenate([tensors["tokens"].ravel() for tensors in counted.asked])
    assert set(tokens.tolist()) == {0, 3, 4, 5}, "0 is padding"
    assert "agree with the golden ones" in output or "no request was answered twice" in output


def test_answers_that_depend_on_traffic_are_counted_and_fail(load, counted, tmp_path):
    np.savez(tmp_path / "one.npz", tokens=[[3, 4]])
    words = [*QUICK, "--arrivals", "constant", "--inputs", str(tmp_path / "one.npz")]
    status, output, _ = load(*words, url=counted.address)
    assert status == 0
    assert "answers: those to all 30 rows agree with the golden ones" in output, "the first one was in the warm-up"
    counted.asked.clear()
    counted.drift = 1e-3
    status, output, _ = load(*words, "--json", "-", url=counted.address)
    assert status == 1
    (point,) = json.loads(output)["points"]
    assert point["answers"] == {"compared": 30, "different": 30}
    assert point["labels"] == {"checked": 0, "wrong": 0}
    assert load(*words, "--no-check", url=counted.address)[0] == 0


def test_samples_may_hold_the_answers(load, counted, tmp_path):
    words = [*QUICK, "--arrivals", "constant", "--batch", "1:2", "--inputs", str(tmp_path / "samples.npz")]
    for wrong, expected in ((0, 0), (1, 1)):
        np.savez(tmp_path / "samples.npz", tokens=[[3, 4], [5, 5]], sum=[[7.0], [10.0 + wrong]])
        assert load("count", *words, url=counted.address)[0] == expected
    assert {tuple(row) for tensors in counted.asked for row in tensors["tokens"].tolist()} == {(3, 4), (5, 5)}


@pytest.fixture
def policies():
    """A server of a model of single steps that adds them up, of one without states, and after `drift_after` wrong."""

    class Policies(FakeModels):
        drift_after: int = 1000
        address = ""

        def compute(self, tensors):
            memory = tensors["memory"] + tensors["observation"]
            return {"action": memory.sum(axis=1, keepdims=True) + (len(self.asked) > self.drift_after), "next": memory}

    service: Any = Policies({})  # type: ignore[abstract]
    pair = ("FP32", ("batch", ("features", 2)))
    inputs = {"observation": pair, "memory": pair}
    outputs = {"action": ("FP32", ("batch", ("actions", 1))), "next": (*pair, {"continues_as": "memory"})}
    service.models["policy"] = FakeModel(inputs, outputs, service.compute, {"batch_invariant": "true"})
    service.models["stateless"] = FakeModel({"observation": pair}, {"action": pair}, service.compute)
    with serving(service) as address:
        service.address = address
        yield service


SESSIONS = ["--sessions", "2", "--think", "5ms", "--steps", "4", "--duration", "0.3", "--warmup", "0"]


def test_sessions_carry_their_states_and_repeat_their_answers(load, policies, tmp_path):
    words = ["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    status, output, errors = load(*SESSIONS, *words, url=policies.address)
    assert status == 0, errors
    assert output.startswith("sessions  answers/s")
    assert "agree with the golden ones" in output
    begun = [tensors for tensors in policies.asked if not tensors["memory"].any()]
    assert 2 <= len(begun) < len(policies.asked)  # `stateless` was not asked, and sessions began anew
    (point,) = json.loads((tmp_path / "r.json").read_text())["points"]
    assert (point["sessions"], point["think_seconds"]) == (2, 0.005)
    assert point["answers"]["compared"] == point["answered"] - 8  # those of the first time are the golden ones
    assert "sessions of 4 steps, the next 5.00 ms after an answer" in (tmp_path / "r.html").read_text()


def test_sessions_whose_answers_change_fail(load, policies):
    policies.drift_after = 12
    status, output, _ = load(*SESSIONS, "policy", url=policies.address)
    assert status == 1
    assert "rows have other answers than the golden ones" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stateless", *SESSIONS], "model stateless has no states, so that it has no sessions"),
        ([*SESSIONS, "--inputs", "x.npz"], "--inputs has whole sequences, and --sessions draws points"),
        (["--think", "5ms"], "--think is for sessions: give their number, --sessions 1"),
        (["--steps", "5", "--closed", "1"], "--steps is for sessions"),
    ],
)
def test_what_sessions_cannot_do_is_one_line(load, policies, words, said):
    status, output, errors = load(*words, url=policies.address)
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve load: ")
    assert said in errors
    assert errors.count("\n") == 1


def test_sessions_need_a_model_that_has_them(load, policies):
    del policies.models["policy"]
    status, _, errors = load(*SESSIONS, url=policies.address)
    assert (status, errors) == (
        1, "rnnserve load: none of the models that are ready has sessions: stateless\n"
    )  # fmt: skip


def test_samples_are_for_one_model(load, walks, tmp_path):
    walks.ready = ("walks", "others")
    status, _, errors = load(*QUICK, "--inputs", str(tmp_path / "samples.npz"))
    assert (status, errors) == (1, "rnnserve load: --inputs: the rows are for one model; name one of walks, others\n")
    _, _, errors = load("walks", *QUICK, "--inputs", str(tmp_path / "samples.npz"))
    assert errors == f"rnnserve load: {tmp_path / 'samples.npz'}: cannot be read (No such file or directory)\n"
