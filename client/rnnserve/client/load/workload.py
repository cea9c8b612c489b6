"""What is sent: a pool of requests, serialized before the load starts, with the expected answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.load.labelled_walks import UNKNOWN_CLASS, WALK_LABELS, draw_labelled_walks
from rnnserve.client.load.size_distribution import SizeDistribution
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.request_builder import build_request
from rnnserve.client.row_inputs import check_rows
from rnnserve.client.tensors import Array

__all__ = ["RequestPool", "WorkloadSpec", "build_request_pool", "classifies_walks"]

_MAX_POOL_BYTES = 64 << 20


@dataclass(frozen=True)
class WorkloadSpec:
    """What to send.

    Attributes:
        models: Metadata of each model.
        weights: Relative frequency of each model, by name.
        lengths: Points per sequence. If the model takes `lengths`, each row of a request has a length of its own.
        batches: Rows per request.
        check: Whether to compare the answers of direction classifiers with the known direction of each walk.
        seed: Seed of all random numbers.
        pool: Number of different requests; they are sent again and again in random order.
    """

    models: tuple[ModelMetadata, ...]
    weights: Mapping[str, float]
    lengths: SizeDistribution
    batches: SizeDistribution
    check: bool = True
    seed: int = 13
    pool: int = 512


@dataclass(frozen=True)
class RequestPool:
    """Serialized requests, ready to send.

    Attributes:
        models: Names of the models, to which `model` refers.
        payloads: One serialized ModelInferRequest per request.
        model: (requests,) int64, index of each request's model.
        rows: (requests,) int64, sequences in each request.
        expected: For each request, its expected classes, (batch,) int64, with `UNKNOWN_CLASS` for rows without a known
            class; None for requests whose answers are not checked.
    """

    models: tuple[str, ...]
    payloads: list[bytes]
    model: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    expected: list[npt.NDArray[np.int64] | None]


def classifies_walks(metadata: ModelMetadata) -> bool:
    """Return whether a model classifies the direction of walks, so that its answers can be checked."""
    tensor, logits = metadata.inputs.get("input"), metadata.outputs.get("logits")
    takes_points = tensor is not None and len(tensor.shape) == 3 and tensor.shape[2] == 2
    return takes_points and logits is not None and logits.datatype == "FP32" and metadata.labels == WALK_LABELS


def build_request_pool(spec: WorkloadSpec, part: int = 0) -> RequestPool:
    """Draw and serialize the requests of one generator.

    The pool has fewer than `spec.pool` requests if they would take more than 64 MiB.

    Args:
        spec: What to send.
        part: Index of the generator; each generator sends different requests.

    Raises:
        InvalidRequest: A model takes no sequences, or its metadata does not give the number of features.
    """
    random = np.random.default_rng([spec.seed, part])
    weights = np.array([spec.weights[metadata.name] for metadata in spec.models])  # (models,)
    models = random.choice(len(spec.models), size=spec.pool, p=weights / weights.sum())  # (requests,)
    rows = spec.batches.draw(random, spec.pool)  # (requests,)
    payloads: list[bytes] = []
    expected: list[npt.NDArray[np.int64] | None] = []
    size = 0
    for index, batch in zip(models.tolist(), rows.tolist(), strict=True):
        payload, classes = _draw_request(spec, spec.models[index], batch, random)
        size += len(payload)
        if payloads and size > _MAX_POOL_BYTES:
            break
        payloads.append(payload)
        expected.append(classes)
    count = len(payloads)
    return RequestPool(
        tuple(metadata.name for metadata in spec.models), payloads, models[:count], rows[:count], expected
    )


def _draw_request(
    spec: WorkloadSpec, metadata: ModelMetadata, batch: int, random: np.random.Generator
) -> tuple[bytes, npt.NDArray[np.int64] | None]:
    """Return one serialized request, and its expected classes (batch,) int64 if its answer is to be checked."""
    ragged = "lengths" in metadata.inputs
    lengths = spec.lengths.draw(random, batch if ragged else 1)
    lengths = lengths if ragged else np.repeat(lengths, batch)  # (batch,)
    sequences, classes = _draw_sequences(metadata, lengths, random)
    rows = check_rows(metadata, sequences)
    request = build_request(metadata.name, "", metadata, rows, range(batch), ["logits"])
    checked = spec.check and classifies_walks(metadata) and bool((classes != UNKNOWN_CLASS).any())
    return request.SerializeToString(), classes if checked else None


def _draw_sequences(
    metadata: ModelMetadata, lengths: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[Sequence[Array], npt.NDArray[np.int64]]:
    """Return one (length, features) float32 array per row, and the rows' classes (batch,) int64."""
    tensor = metadata.inputs.get("input")
    features = tensor.shape[2] if tensor is not None and len(tensor.shape) == 3 else 2
    if features == 2:
        return draw_labelled_walks(lengths, random)
    if features < 1:
        raise InvalidRequest(
            f"model {metadata.name} takes `input` of shape {tensor.shape if tensor else ()}: the shape does not say "
            "how many features a point has, so no points can be drawn for it"
        )
    sequences = [random.standard_normal((length, features)).astype(np.float32) for length in lengths.tolist()]
    return sequences, np.full(len(lengths), UNKNOWN_CLASS)
