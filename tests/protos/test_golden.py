"""Golden results: what comes near enough passes, and one wrong number does not."""

import io
import re
import time
import zipfile

import numpy as np
import pytest

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.golden import KINDS, Case, dump_cases, load_cases, replay

LIMITS = manifest_pb2.ReplayLimits(
    device="cpu",
    step_state=1e-6,
    step_logits=2e-6,
    walk_logits=4e-6,
    sequence_rms_factor=4,
    sequence_rms_floor=1e-6,
    sequence_largest=5e-5,
)


def exact(inputs):
    """A running mean that forgets: not a network, but it has states, an order of points, and rounding."""
    input, h = inputs["input"].astype(np.float64), inputs["h_0"].astype(np.float64)[0]
    output = np.zeros((*input.shape[:2], h.shape[1]))
    for step in range(input.shape[1]):
        alive = (step < inputs["lengths"])[:, None]
        h = np.where(alive, np.tanh(0.5 * h + input[:, step].sum(1, keepdims=True)), h)
        output[:, step] = np.where(alive, h, 0)
    return {"logits": 3 * h[:, :2], "output": output, "h_n": h[None]}


def rounded(inputs, size=1e-7, seed=0):
    """`exact` as float32 and other orders of summation would give it."""
    random = np.random.default_rng(seed)
    return {
        name: (array + size * random.standard_normal(array.shape) * (array != 0)).astype(np.float32)
        for name, array in exact(inputs).items()
    }


def a_case(kind, batch, sequence, seed):
    random = np.random.default_rng(seed)
    inputs = {
        "input": random.standard_normal((batch, sequence, 2)).astype(np.float32),
        "lengths": random.integers(1, sequence + 1, batch),
        "h_0": random.standard_normal((1, batch, 3)).astype(np.float32),
    }
    return Case(kind, inputs, rounded(inputs), exact(inputs))


@pytest.fixture
def cases():
    return [a_case("step", 33, 1, 1), a_case("walk", 5, 9, 2), a_case("random", 2, 7, 3), a_case("random", 5, 20, 4)]


def test_dumped_cases_are_loaded_as_they_were(cases):
    loaded = load_cases(dump_cases(cases))
    assert [case.kind for case in loaded] == [case.kind for case in cases]
    for found, case in zip(loaded, cases, strict=True):
        for part in ("inputs", "eager", "float64"):
            expected = getattr(case, part)
            assert getattr(found, part).keys() == expected.keys()
            for name, array in getattr(found, part).items():
                assert array.dtype == expected[name].dtype
                np.testing.assert_array_equal(array, expected[name])


def test_the_order_of_more_than_a_thousand_cases_is_kept(cases):
    many = [a_case(KINDS[number % 3], 1, 1, number) for number in range(1200)]
    loaded = load_cases(dump_cases(many))
    assert all((a.inputs["input"] == b.inputs["input"]).all() for a, b in zip(loaded, many, strict=True))


def test_the_same_cases_give_the_same_bytes_at_any_time(cases, monkeypatch):
    before = dump_cases(cases)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert dump_cases(cases) == before


def test_nothing_is_pickled(cases):
    cases[0].inputs["input"] = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        dump_cases(cases)


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip file at all", dump_cases([])])
def test_what_holds_no_cases_is_refused(data):
    with pytest.raises(ArtifactError, match=r"^golden\.npz: holds no golden results"):
        load_cases(data)


@pytest.mark.parametrize("name", ["input.npy", "1/2/3/4/5.npy", "000/step/weights/w.npy"])
def test_entries_of_other_names_are_refused(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = io.BytesIO()
        np.save(entry, np.zeros(3))
        archive.writestr(name, entry.getvalue())
    with pytest.raises(ArtifactError, match=r"^golden\.npz: "):
        load_cases(buffer.getvalue())


def test_cases_that_prove_nothing_are_refused(cases):
    good = cases[0]
    for bad, message in [
        (Case("sample", good.inputs, good.eager, good.float64), 'is a "sample"; expected one of step, walk, random'),
        (Case("step", good.inputs, {}, {"logits": good.float64["logits"]}), "has not the same tensors"),
        (Case("step", good.inputs, good.eager, {"logits": good.float64["logits"]}), "has not the same tensors"),
        (Case("step", {"h_0": good.inputs["h_0"]}, good.eager, good.float64), 'has no "input"'),
    ]:
        with pytest.raises(ArtifactError, match=message):
            load_cases(dump_cases([bad]))


def test_another_rounding_passes(cases):
    assert replay(cases, lambda inputs: rounded(inputs, seed=1), LIMITS) == []


def altered(cases, number, change):
    """A run that gives eager's results, but for one case, in which they are changed in place."""
    answers = iter(range(len(cases)))

    def run(inputs):
        at = next(answers)
        results = {name: array.copy() for name, array in cases[at].eager.items()}
        return change(results) or results if at == number else results

    return run


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("tensor", ["logits", "output", "h_n"])
@pytest.mark.parametrize("wrong", [1e-3, -1e-3, np.nan, np.inf])
def test_one_wrong_number_is_caught_and_named(cases, number, tensor, wrong):
    expected = cases[number].eager[tensor]
    at = tuple(size // 2 for size in expected.shape)

    def change(results):
        results[tensor][at] += np.float32(wrong)

    first = replay(cases, altered(cases, number, change), LIMITS)[0]
    assert first.startswith(f'case {number}, {cases[number]}: "{tensor}" at {[int(i) for i in at]} is ')
    assert "allowed" in first


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("tensor", "axis"), [("logits", 0), ("output", 0), ("h_n", 1)])
def test_swapped_rows_are_caught(cases, number, tensor, axis):
    def change(results):
        results[tensor] = np.roll(results[tensor], 1, axis)

    failures = replay(cases, altered(cases, number, change), LIMITS)
    assert any(failure.startswith(f'case {number}, {cases[number]}: "{tensor}" at ') for failure in failures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {n: a for n, a in r.items() if n != "h_n"}, 'no output "h_n"; there are logits, output'),
        (lambda r: {**r, "h_n": r["h_n"][0]}, r'"h_n" has shape \[5, 3\], eager gave \[1, 5, 3\]'),
        (lambda r: {**r, "h_n": r["h_n"].astype(float)}, '"h_n" is float64, eager gave float32'),
        (lambda r: {**r, "c_n": r["h_n"]}, 'an output "c_n" that eager has not'),
    ],
)
def test_names_shapes_and_datatypes_are_held(cases, change, message):
    (failure,) = replay(cases, altered(cases, 1, change), LIMITS)
    assert failure.startswith("case 1, walk of batch 5, sequence 9: ")
    assert re.search(message, failure)


def test_all_failures_are_told_not_only_the_first(cases):
    def run(inputs):
        return {name: array + np.float32(0.1) for name, array in rounded(inputs).items()}

    failures = replay(cases, run, LIMITS)
    # Each of three tensors in each of four cases, and the two rules over all random ones.
    assert len(failures) == 3 * 4 + 3
    assert failures[-1].startswith('random sequences: "h_n" is 0.1 from float64 (root mean square), eager ')


def test_random_sequences_are_held_to_float64_by_root_mean_square(cases):
    """Every number near enough on its own, all of them ten times as far from the truth as eager is."""

    def run(inputs):
        return rounded(inputs, size=1e-5, seed=1)

    loose = manifest_pb2.ReplayLimits()
    loose.CopyFrom(LIMITS)
    loose.step_state = loose.step_logits = loose.walk_logits = 1e-3
    failures = replay(cases, run, loose)
    assert len(failures) == 3
    assert all(failure.startswith("random sequences: ") for failure in failures)


def test_limits_grow_with_large_values_only():
    for largest, growth in [(16.0, 1.0), (160.0, 10.0)]:
        eager = {"logits": np.full((1, 2), largest, np.float32)}
        case = Case("walk", {"input": np.zeros((1, 1, 2), np.float32)}, eager, {"logits": np.full((1, 2), largest)})
        for distance, failing in [(0.9, 0), (1.1, 1)]:
            found = {"logits": eager["logits"] + distance * growth * 1e-4}
            found["logits"] = found["logits"].astype(np.float32)
            limits = manifest_pb2.ReplayLimits(walk_logits=1e-4)
            assert len(replay([case], lambda _, found=found: found, limits)) == failing  # type: ignore[misc]


def test_without_limits_nothing_but_equality_passes(cases):
    assert replay(cases, lambda inputs: rounded(inputs, seed=1), manifest_pb2.ReplayLimits(device="cpu"))
