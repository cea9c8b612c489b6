"""What to write where forward takes only some sizes of two axes together, as samples of audio and frames of it."""

import itertools
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays
from rnnserve.export.tensor_shapes import sequence_axes, size_limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["advice_on_axes"]

_TIMES: Final = (*range(1, 17), 20, 24, 32, 40, 64, 80, 100, 128, 160, 200, 240, 256, 300, 320, 400, 480, 512)
"""How many steps of one axis a step of another may have: usual strides and hops."""

_STEPS: Final = 7


def advice_on_axes(call: Callable[[Arrays], Arrays], inputs: Sequence[manifest_pb2.Tensor]) -> str:
    """Say how the sizes of two sequence axes hang together; empty where that is not found.

    Args:
        call: Forward, with arrays by the names of inputs.
        inputs: Inputs, described.
    """
    axes, limits = sequence_axes(inputs), size_limits(inputs)
    for few, times, many in ((few, times, many) for times in _TIMES for few, many in itertools.permutations(axes, 2)):
        chosen = {name: min(max(_STEPS, low), high or _STEPS) for name, (low, high) in limits.items()} | {BATCH: 2}
        chosen[many] = times * chosen[few]
        if chosen[many] > (limits[many][1] or chosen[many]):
            continue
        try:
            call(draw_inputs(inputs, np.random.default_rng(0), chosen, bounded_states=True))
        except Exception:  # noqa: BLE001, S112 - whatever the user's module raises at sizes that it does not take
            continue
        if times == 1:
            return f'. It runs where "{few}" and "{many}" have as many steps: give both axes one name'
        return (
            f'. It runs where "{many}" has {times} steps for each of "{few}", and axes of two names have any sizes. '
            f'Describe these as an axis of their own, ("batch", "{few}", {times}), and let forward join the two: '
            "x.flatten(1, 2)"
        )
    return ""
