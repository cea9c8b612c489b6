"""The limits of a replay: which limit applies to which kind of case and tensor."""

import numpy as np
import pytest

from rnnserve.protos import manifest_pb2
from rnnserve.protos.golden import Case, replay


def test_limits_grow_with_large_values_only():
    for largest, growth in [(16.0, 1.0), (160.0, 10.0)]:
        eager = {"logits": np.full((1, 2), largest, np.float32)}
        case = Case("walk", {"input": np.zeros((1, 1, 2), np.float32)}, eager, {"logits": np.full((1, 2), largest)})
        for distance, failing in [(0.9, 0), (1.1, 1)]:
            found = {"logits": eager["logits"] + distance * growth * 1e-4}
            found["logits"] = found["logits"].astype(np.float32)
            limits = manifest_pb2.ReplayLimits(walk_logits=1e-4)
            assert len(replay([case], lambda _, found=found: found, limits)) == failing  # type: ignore[misc]


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


def test_walks_and_steps_are_compared_with_eager_and_random_sequences_with_float64():
    for kind, truth in [("step", "eager"), ("walk", "eager"), ("random", "float64")]:
        zeros, ones = np.zeros((1, 2), np.float32), np.ones((1, 2))
        case = Case(kind, {"input": np.zeros((1, 1, 2), np.float32)}, {"logits": zeros}, {"logits": ones})
        limits = manifest_pb2.ReplayLimits(sequence_rms_factor=9)
        for name, answer in [("eager", zeros), ("float64", ones.astype(np.float32))]:
            failures = replay([case], lambda _, answer=answer: {"logits": answer}, limits)  # type: ignore[misc]
            assert bool(failures) == (name != truth)
            assert all(f"{truth} returned" in failure for failure in failures)


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
def test_root_mean_square_limit_has_a_factor_and_a_floor(factor, floor, size, distance, passes):
    """Eager is 1e-3 from float64 everywhere, and the replayed result `distance`."""
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


def test_limits_grow_for_coarser_floats():
    exact = np.zeros(2)
    limits = manifest_pb2.ReplayLimits(step_state=2**-23)
    for dtype, passes in ((np.float16, True), (np.float32, False), (np.float64, False)):
        case = Case("step", {"x": np.ones(2, np.float32)}, {"y": exact.astype(dtype)}, {"y": exact})
        found = {"y": np.full(2, 2**-11, dtype)}

        def compute(_, found=found):
            return found

        assert (replay([case], compute, limits) == []) is passes
