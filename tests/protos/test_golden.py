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
        (Case("hop", good.inputs, good.eager, good.float64), 'is a "hop"; expected one of step, walk, sample, random'),
        (Case("step", good.inputs, {}, {"logits": good.float64["logits"]}), "does not have the same tensors"),
        (Case("step", good.inputs, good.eager, {"logits": good.float64["logits"]}), "does not have the same tensors"),
        (Case("step", {}, good.eager, good.float64), "has no inputs"),
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
        (lambda r: {**r, "c_n": r["h_n"]}, 'an output "c_n" that eager does not have'),
    ],
)
def test_names_shapes_and_datatypes_are_held(cases, change, message):
    (failure,) = replay(cases, altered(cases, 1, change), LIMITS)
    assert failure.startswith('case 1, walk of "input" [5, 9, 2]: ')
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


@pytest.mark.parametrize(
    ("kind", "tensor", "limit"),
    [
        ("step", "logits", "step_logits"),
        ("step", "output", "step_state"),
        ("step", "h_n", "step_state"),
        ("walk", "logits", "walk_logits"),
        ("walk", "h_n", "walk_logits"),
        ("random", "logits", "sequence_largest"),
        ("random", "h_n", "sequence_largest"),
    ],
)
def test_each_kind_and_tensor_has_its_limit(kind, tensor, limit):
    """All other limits allow anything, so that only this one decides."""
    values = np.zeros((1, 2), np.float32)
    case = Case(kind, {"input": np.zeros((1, 1, 2), np.float32)}, {tensor: values}, {tensor: values.astype(float)})
    limits = manifest_pb2.ReplayLimits()
    for field in manifest_pb2.ReplayLimits.DESCRIPTOR.fields:
        if field.name != "device":
            setattr(limits, field.name, 1e9)
    setattr(limits, limit, 1e-3)
    for distance, failing in [(0.9e-3, 0), (1.1e-3, 1), (-1.1e-3, 1)]:
        assert len(replay([case], lambda _, d=distance: {tensor: values + np.float32(d)}, limits)) == failing  # type: ignore[misc]


def test_a_distance_of_exactly_the_limit_passes():
    values = np.zeros((1, 2), np.float32)
    case = Case(
        "walk", {"input": np.zeros((1, 1, 2), np.float32)}, {"logits": values}, {"logits": values.astype(float)}
    )
    limits = manifest_pb2.ReplayLimits(walk_logits=0.25)
    assert replay([case], lambda _: {"logits": values + np.float32(0.25)}, limits) == []


def test_walks_and_steps_are_compared_with_eager_and_random_ones_with_float64():
    for kind, truth in [("step", "eager"), ("walk", "eager"), ("random", "float64")]:
        zeros, ones = np.zeros((1, 2), np.float32), np.ones((1, 2))
        case = Case(kind, {"input": np.zeros((1, 1, 2), np.float32)}, {"logits": zeros}, {"logits": ones})
        limits = manifest_pb2.ReplayLimits(sequence_rms_factor=9)
        for name, answer in [("eager", zeros), ("float64", ones.astype(np.float32))]:
            failures = replay([case], lambda _, answer=answer: {"logits": answer}, limits)  # type: ignore[misc]
            assert bool(failures) == (name != truth)
            assert all(f"{truth} gave" in failure for failure in failures)


@pytest.mark.parametrize(
    ("factor", "floor", "size", "distance", "passes"),
    [
        (3, 0.0, 1.0, 2.9e-3, True),
        (3, 0.0, 1.0, 3.1e-3, False),
        (0, 2e-3, 1.0, 1.9e-3, True),
        (0, 2e-3, 1.0, 2.1e-3, False),
        (0, 2e-3, 32.0, 3.9e-3, True),  # the floor grows with values beyond 16
        (0, 2e-3, 32.0, 4.1e-3, False),
        (1, 1e-3, 1.0, 1.9e-3, True),
        (1, 1e-3, 1.0, 2.1e-3, False),
    ],
)
def test_the_root_mean_square_has_a_factor_and_a_floor(factor, floor, size, distance, passes):
    """Eager is 1e-3 from float64 everywhere; what is judged is `distance` from it."""
    exact = np.full((4, 2), size)
    inputs = {"input": np.zeros((4, 3, 2), np.float32)}
    case = Case("random", inputs, {"logits": exact + 1e-3}, {"logits": exact})
    limits = manifest_pb2.ReplayLimits(sequence_largest=1, sequence_rms_factor=factor, sequence_rms_floor=floor)
    failures = replay([case], lambda _: {"logits": exact - distance}, limits)
    assert (failures == []) == passes
    if not passes:
        assert failures[0].startswith(f'random sequences: "logits" is {distance:.3g} from float64 (root mean square), ')
        assert "eager 0.001: " in failures[0]
        assert failures[0].endswith(" allowed")


def test_the_root_mean_square_is_over_all_random_cases():
    """One case twice as far as allowed, three that are exact: half of it in the root mean square."""
    exact = np.ones((1, 2))
    inputs = {"input": np.zeros((1, 3, 2), np.float32)}
    cases = [Case("random", inputs, {"logits": exact + 1e-3}, {"logits": exact}) for _ in range(4)]
    limits = manifest_pb2.ReplayLimits(sequence_largest=1, sequence_rms_factor=1.01)
    for distance, failing in [(2e-3, 0), (2.1e-3, 1)]:
        answers = iter([exact + distance, exact, exact, exact])
        assert len(replay(cases, lambda _, a=answers: {"logits": next(a)}, limits)) == failing  # type: ignore[misc]


def test_a_case_says_its_kind_and_its_sizes():
    assert str(a_case("walk", 5, 9, 2)) == 'walk of "input" [5, 9, 2]'
    assert KINDS == ("step", "walk", "sample", "random")


def test_the_entries_of_the_file(cases):
    """Servers of other versions read it: number, kind, part and name, dated 1980, made on a Unix, not compressed."""
    with zipfile.ZipFile(io.BytesIO(dump_cases(cases[:2]))) as archive:
        infos = archive.infolist()
    outputs = ["logits", "output", "h_n"]
    parts = {"inputs": ["input", "lengths", "h_0"], "eager": outputs, "float64": outputs}
    names = [f"{part}/{name}" for part, held in parts.items() for name in held]
    assert [info.filename for info in infos] == [
        f"{case}/{name}.npy" for case in ("000/step", "001/walk") for name in names
    ]
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {(info.create_system, info.compress_type) for info in infos} == {(3, zipfile.ZIP_STORED)}


def test_a_case_names_the_shapes_of_any_inputs():
    case = Case("step", {"tokens": np.zeros((2, 3), np.int64), "flag": np.zeros(2, np.bool_)}, {}, {})
    assert str(case) == 'step of "tokens" [2, 3]'


def test_the_case_that_is_wrong_is_named_by_its_number(cases):
    bad = Case("hop", cases[1].inputs, cases[1].eager, cases[1].float64)
    with pytest.raises(ArtifactError, match="case 001 is a "):
        load_cases(dump_cases([cases[0], bad]))


def test_a_root_mean_square_of_exactly_what_is_allowed_passes(cases):
    """What gives eager's own bits is as far from float64 as eager is."""
    random = [case for case in cases if case.kind == "random"]
    limits = manifest_pb2.ReplayLimits(sequence_largest=1, sequence_rms_factor=1)
    assert replay(random, altered(random, -1, None), limits) == []


def test_integers_and_booleans_are_equal_or_wrong():
    inputs = {"x": np.ones((2, 3), np.float32)}
    results = {"tags": np.array([1, 2]), "flags": np.array([True, False])}
    case = Case("sample", inputs, results, results)
    assert replay([case], lambda _: results, LIMITS) == []
    (failure,) = replay([case], lambda _: {**results, "tags": np.array([1, 3])}, LIMITS)
    assert failure.startswith('case 0, sample of "x" [2, 3]: "tags" at [1] is 3, eager gave 2')
    (failure,) = replay([case], lambda _: {**results, "flags": np.array([True, True])}, LIMITS)
    assert '"flags" at [1] is 1, eager gave 0' in failure


@pytest.mark.parametrize("kind", ["sample", "random"])
def test_samples_are_judged_as_random_sequences_are(kind):
    exact = np.zeros(4)
    case = Case(kind, {"x": np.ones(4, np.float32)}, {"y": exact.astype(np.float32) + np.float32(1e-3)}, {"y": exact})
    limits = manifest_pb2.ReplayLimits(sequence_largest=1.0, sequence_rms_factor=2.0)
    assert replay([case], lambda _: {"y": np.full(4, 1.9e-3, np.float32)}, limits) == []
    (failure,) = replay([case], lambda _: {"y": np.full(4, 2.1e-3, np.float32)}, limits)
    assert failure.startswith(f'{kind} sequences: "y" is 0.0021 from float64')


def test_limits_grow_for_coarser_floats():
    exact = np.zeros(2)
    limits = manifest_pb2.ReplayLimits(step_state=2**-23)
    for dtype, passes in ((np.float16, True), (np.float32, False), (np.float64, False)):
        case = Case("step", {"x": np.ones(2, np.float32)}, {"y": exact.astype(dtype)}, {"y": exact})
        found = {"y": np.full(2, 2**-11, dtype)}

        def compute(_, found=found):
            return found

        assert (replay([case], compute, limits) == []) is passes
