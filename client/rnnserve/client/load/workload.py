"""What is asked: a pool of requests, serialized before the first is sent, with the answers expected."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.load.distribution import Distribution
from rnnserve.client.load.walks import LABELS, UNKNOWN, walk_batch
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.requests import classify_request
from rnnserve.client.sequences import check_features, check_state
from rnnserve.client.tensors import Array

__all__ = ["Pool", "WorkloadSpec", "build_pool", "is_ours"]

_MAX_POOL_BYTES = 64 << 20


@dataclass(frozen=True)
class WorkloadSpec:
    """What to ask.

    Attributes:
        models: Metadata of each model.
        weights: How often each is asked, relative to the others; by name.
        lengths: Points of a sequence; each row of a request has its own where the model takes `lengths`.
        batches: Rows of a request.
        check: Whether answers of our own classifiers are compared with the direction that each walk has.
        seed: Of everything random.
        pool: How many different requests are made; they are sent again and again in random order.
    """

    models: tuple[ModelMetadata, ...]
    weights: Mapping[str, float]
    lengths: Distribution
    batches: Distribution
    check: bool = True
    seed: int = 13
    pool: int = 512


@dataclass(frozen=True)
class Pool:
    """Requests ready to be sent.

    Attributes:
        models: The names that `model` points to.
        payloads: Serialized ModelInferRequests.
        model: (requests,) int64, whom each asks.
        rows: (requests,) int64, sequences in each.
        expected: For each request the (batch,) int64 classes of its rows, `UNKNOWN` where there is none to expect;
            None where its answers are not checked.
    """

    models: tuple[str, ...]
    payloads: list[bytes]
    model: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    expected: list[npt.NDArray[np.int64] | None]


def is_ours(metadata: ModelMetadata) -> bool:
    """Whether a model tells the direction of walks, so that its answers can be checked."""
    tensor, logits = metadata.inputs.get("input"), metadata.outputs.get("logits")
    takes_points = tensor is not None and len(tensor.shape) == 3 and tensor.shape[2] == 2
    return takes_points and logits is not None and logits.datatype == "FP32" and metadata.labels == LABELS


def build_pool(spec: WorkloadSpec, part: int = 0) -> Pool:
    """Draw and serialize the requests of one generator.

    Fewer than `spec.pool` where they would take more than 64 MiB.

    Args:
        spec: What to ask.
        part: Which generator it is for: each asks something else.

    Raises:
        InvalidRequest: A model that takes no sequences or does not say how many features a point has.
    """
    random = np.random.default_rng([spec.seed, part])
    weights = np.array([spec.weights[metadata.name] for metadata in spec.models])
    models = random.choice(len(spec.models), size=spec.pool, p=weights / weights.sum())
    rows = spec.batches.draw(random, spec.pool)
    payloads: list[bytes] = []
    expected: list[npt.NDArray[np.int64] | None] = []
    size = 0
    for index, count in zip(models.tolist(), rows.tolist(), strict=True):
        payload, classes = _request(spec, spec.models[index], count, random)
        size += len(payload)
        if payloads and size > _MAX_POOL_BYTES:
            break
        payloads.append(payload)
        expected.append(classes)
    made = len(payloads)
    return Pool(tuple(metadata.name for metadata in spec.models), payloads, models[:made], rows[:made], expected)


def _request(
    spec: WorkloadSpec, metadata: ModelMetadata, rows: int, random: np.random.Generator
) -> tuple[bytes, npt.NDArray[np.int64] | None]:
    ragged = "lengths" in metadata.inputs
    lengths = spec.lengths.draw(random, rows if ragged else 1)
    lengths = lengths if ragged else np.repeat(lengths, rows)
    walks, classes = _sequences(metadata, lengths, random)
    check_features(walks, metadata)
    request = classify_request(metadata.name, "", metadata, walks, dict(_states(metadata, rows)), ["logits"])
    checked = spec.check and is_ours(metadata) and bool((classes != UNKNOWN).any())
    return request.SerializeToString(), classes if checked else None


def _sequences(
    metadata: ModelMetadata, lengths: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[Sequence[Array], npt.NDArray[np.int64]]:
    tensor = metadata.inputs.get("input")
    features = tensor.shape[2] if tensor is not None and len(tensor.shape) == 3 else 2
    if features == 2:
        return walk_batch(lengths, random)
    if features < 1:
        raise InvalidRequest(
            f"model {metadata.name} takes `input` of shape {tensor.shape if tensor else ()}: it does not say how many "
            "features a point has, so no points can be made for it"
        )
    points = [random.standard_normal((length, features)).astype(np.float32) for length in lengths.tolist()]
    return points, np.full(len(lengths), UNKNOWN)


def _states(metadata: ModelMetadata, rows: int) -> Iterator[tuple[str, Array]]:
    """Yield zero states, (layers * directions, batch, hidden), for servers that want every input."""
    for name in ("h_0", "c_0"):
        if name in metadata.inputs and not metadata.inputs[name].optional:
            yield name, check_state(name, [None] * rows, rows, metadata)
