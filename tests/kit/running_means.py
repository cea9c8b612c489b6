"""Golden cases of a running mean, which has states, an order of points and rounding, and limits for it."""

import numpy as np

from rnnserve.protos import manifest_pb2
from rnnserve.protos.golden import Case

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


def rounded(inputs, seed=0):
    """`exact` as float32 and other orders of summation would give it."""
    random = np.random.default_rng(seed)
    return {
        name: (array + 1e-7 * random.standard_normal(array.shape) * (array != 0)).astype(np.float32)
        for name, array in exact(inputs).items()
    }


def a_case(kind, batch, sequence, seed):
    """A golden case of drawn inputs, as the running mean itself and as float32 would give it."""
    random = np.random.default_rng(seed)
    inputs = {
        "input": random.standard_normal((batch, sequence, 2)).astype(np.float32),
        "lengths": random.integers(1, sequence + 1, batch),
        "h_0": random.standard_normal((1, batch, 3)).astype(np.float32),
    }
    return Case(kind, inputs, rounded(inputs), exact(inputs))
