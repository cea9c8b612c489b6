"""Convolutions and pooling: each value is computed from a window of its axis."""

import dataclasses
import math

from rnnserve.export.dataflow.flow import At, Over, Read, flow
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.sizes import Size, computed
from rnnserve.export.dataflow.tracks import Reach
from rnnserve.export.dataflow.values import Axis, NotCovered, Value, size_of

__all__: list[str] = []


@rule("Conv ConvInteger")
def _convolution(node: Node) -> Value:
    value, weights = node.input(0), node.input(1)
    _check_constants(node)
    kernel = [size_of(axis).number for axis in weights.axes[2:]]
    channels = weights.axes[0]
    reads, sizes = _windows(node, value, [number or 0 for number in kernel], "convolves over")
    if None in kernel:
        raise NotCovered
    all_reads: list[Read] = [At(0), Over("sums products over"), *reads]
    result = flow(node, (value.axes[0], channels, *sizes), [(value, all_reads)])
    return dataclasses.replace(result, finite=all(each.wholly_finite for each in node.given))


def _check_constants(node: Node) -> None:
    if not all(each.track(key).is_free for each in node.given[1:] for key in node.keys):
        raise NotCovered


@rule("MaxPool AveragePool LpPool")
def _pool(node: Node) -> Value:
    value = node.input(0)
    reads, sizes = _windows(node, value, list(node.attribute("kernel_shape")), "pools over")
    if len([name for name in node.outputs if name]) > 1:
        raise NotCovered  # indices into all values
    result = flow(node, (*value.axes[:2], *sizes), [(value, [At(0), At(1), *reads])])
    return dataclasses.replace(result, finite=value.wholly_finite)


@rule("GlobalAveragePool GlobalMaxPool GlobalLpPool")
def _global_pool(node: Node) -> Value:
    value = node.input(0)
    reads: list[Read] = [At(0), At(1), *[Over("pools over")] * (value.rank - 2)]
    shape = (*value.axes[:2], *[(Size.of(1),)] * (value.rank - 2))
    return dataclasses.replace(flow(node, shape, [(value, reads)]), finite=value.wholly_finite)


@rule("ConvTranspose")
def _transposed_convolution(node: Node) -> Value:
    value, weights = node.input(0), node.input(1)
    _check_constants(node)
    channels = size_of(weights.axes[1]) * int(node.attribute("group", 1))
    reads: list[Read] = [At(0), Over("sums products over"), *[Over("convolves over", surely=False)] * (value.rank - 2)]
    settings = "".join(f"{name}={node.attributes[name]}" for name in sorted(node.attributes))
    sizes: list[Axis] = [
        (computed(f"transposed {at} {settings} {list(map(str, weights.axes))}", size_of(axis)),)
        for at, axis in enumerate(value.axes[2:])
    ]
    result = flow(node, (value.axes[0], (channels,), *sizes), [(value, reads)])
    return dataclasses.replace(result, finite=all(each.wholly_finite for each in node.given))


def _windows(node: Node, value: Value, kernel: list[int], does: str) -> tuple[list[Read], list[Axis]]:
    """Give how the axes from the third on are read, and what sizes they have then."""
    count = value.rank - 2
    if len(kernel) != count:
        raise NotCovered
    strides = node.attribute("strides") or [1] * count
    dilations = node.attribute("dilations") or [1] * count
    pads = list(node.attribute("pads") or [0] * (2 * count))
    same = node.attribute("auto_pad", b"NOTSET").decode()
    reads: list[Read] = []
    sizes: list[Axis] = []
    for number in range(count):
        extent = dilations[number] * (kernel[number] - 1)  # steps from the window's first to its last
        before, after = pads[number], pads[number + count]
        if same == "VALID":
            before, after = 0, 0
        elif same.startswith("SAME"):
            fewer, more = extent // 2, math.ceil(extent / 2)
            before, after = (fewer, more) if same == "SAME_UPPER" else (more, fewer)
        at, size = number + 2, size_of(value.axes[number + 2])
        if strides[number] == 1:
            new = size + before + after - extent
            lowest = new.lowest
            # A window may be longer than the axis: then there is an error, or nothing.
            sizes.append((new if lowest is not None and lowest >= 0 else computed("window", new, lowest=0),))
            exact = kernel[number] == 1
            reads.append(At(at, Reach(exact, extent - before)))
        else:
            if same.startswith("SAME") or (node.attribute("ceil_mode", 0) and size.number is None):
                sizes.append((computed(f"stride {strides[number]} {same} {kernel[number]}", size, lowest=0),))
            else:
                whole = size.number
                rounded = math.ceil if node.attribute("ceil_mode", 0) else math.floor
                sizes.append(
                    (Size.of(rounded((whole + before + after - extent - 1) / strides[number]) + 1),)
                    if whole is not None
                    else (computed(f"stride {strides[number]}", size + before + after - extent - 1, lowest=None) + 1,)
                )
            reads.append(Over(does, surely=False))
    return reads, sizes
