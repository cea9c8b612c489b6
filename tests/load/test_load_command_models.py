"""`rnnserve load` with models of any kind, with samples, and with sessions."""

import json

import numpy as np
import pytest

from kit.fakes import FakeModel, FakeModels, serving

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1", "--arrivals", "constant"]
SESSIONS = ["--sessions", "2", "--think", "5ms", "--steps", "4", "--duration", "0.3", "--warmup", "0"]


class Drifting(FakeModels):
    """Serves a model whose first output is wrong by `drift` after some answers.

    `count` sums token ids; `policy` adds single steps up; `stateless` has no states.
    """

    drift: float = 0
    drift_after: int = 10
    address = ""

    def wrong_by(self):
        return self.drift if len(self.asked) > self.drift_after else 0

    def count(self, tensors):
        return {"sum": (tensors["tokens"].sum(axis=1, keepdims=True) + self.wrong_by()).astype("<f4")}

    def act(self, tensors):
        memory = tensors["memory"] + tensors["observation"]
        return {"action": (memory.sum(axis=1, keepdims=True) + self.wrong_by()).astype("<f4"), "next": memory}


@pytest.fixture
def counted():
    service = Drifting({})
    inputs = {
        "tokens": ("INT64", ("batch", "sequence"), {"low": 3, "high": 6}),
        "lengths": ("INT64", ("batch",), {"lengths_of": "sequence", "optional": True}),
    }
    outputs = {"sum": ("FP32", ("batch", ("sum", 1)))}
    service.models["count"] = FakeModel(inputs, outputs, service.count, {"batch_invariant": "true"})
    with serving(service) as service.address:
        yield service


@pytest.fixture
def policies():
    service = Drifting({})
    pair = ("FP32", ("batch", ("features", 2)))
    inputs = {"observation": pair, "memory": pair}
    outputs = {"action": ("FP32", ("batch", ("actions", 1))), "next": (*pair, {"continues_as": "memory"})}
    service.models["policy"] = FakeModel(inputs, outputs, service.act, {"batch_invariant": "true"})
    service.models["stateless"] = FakeModel({"observation": pair}, {"action": pair}, service.act)
    with serving(service) as service.address:
        yield service


def test_inputs_of_any_model_are_drawn_from_its_description(load, counted):
    status, output, errors = load(*QUICK, "--batch", "2", "--length", "1:5", url=counted.address)
    assert status == 0, errors
    tokens = np.concatenate([tensors["tokens"].ravel() for tensors in counted.asked])
    assert set(tokens.tolist()) == {0, 3, 4, 5}, "0 is padding"
    assert "equal the reference outputs" in output or "no request was sent twice" in output


def test_samples_may_hold_the_expected_answers(load, counted, tmp_path):
    words = [*QUICK, "--batch", "1:2", "--inputs", str(tmp_path / "samples.npz")]
    for wrong, expected in ((0, 0), (1, 1)):
        np.savez(tmp_path / "samples.npz", tokens=[[3, 4], [5, 5]], sum=[[7.0], [10.0 + wrong]])
        assert load("count", *words, url=counted.address)[0] == expected
    assert {tuple(row) for tensors in counted.asked for row in tensors["tokens"].tolist()} == {(3, 4), (5, 5)}


def test_sessions_carry_their_states_and_repeat_their_answers(load, policies, tmp_path):
    words = ["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    status, output, errors = load(*SESSIONS, *words, url=policies.address)
    assert status == 0, errors
    assert output.startswith("sessions  answers/s")
    assert "equal the reference outputs" in output
    begun = [tensors for tensors in policies.asked if not tensors["memory"].any()]
    assert 2 <= len(begun) < len(policies.asked)  # `stateless` was not asked, and sessions began anew
    (point,) = json.loads((tmp_path / "r.json").read_text())["points"]
    assert (point["sessions"], point["think_seconds"]) == (2, 0.005)
    assert point["answers"]["compared"] == point["answered"] - 8  # those of the first time are the reference
    assert "sessions of 4 steps, the next step 5.00 ms after a response" in (tmp_path / "r.html").read_text()
    policies.drift, policies.drift_after = 1, len(policies.asked) + 12
    status, output, _ = load(*SESSIONS, "policy", url=policies.address)
    assert status == 1
    assert "differ from the reference outputs" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stateless", *SESSIONS], "model stateless has no states, so it has no sessions"),
        ([*SESSIONS, "--inputs", "x.npz"], "--inputs contains whole sequences, but --sessions sends single points"),
        (["--think", "5ms"], "--think applies only to sessions; add --sessions 1"),
        (["--steps", "5", "--closed", "1"], "--steps applies only to sessions"),
        (["--inputs", "x.npz"], "--inputs needs one model; pass one of policy, stateless"),
        (["policy", "--inputs", "x.npz"], "cannot read x.npz (No such file or directory)"),
    ],
)
def test_options_that_do_not_fit_the_models_are_refused_in_one_line(load, policies, words, said):
    status, output, errors = load(*words, url=policies.address)
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve load: ")
    assert said in errors
    assert errors.count("\n") == 1
