"""A short summary of a version's parity record, for the model's metadata."""

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["summarise_parity"]

_DISTANCES = ("onnx_from_eager_max", "onnx_from_float64_max", "eager_from_float64_max")


def summarise_parity(record: Mapping[str, Any]) -> str:
    """Shorten a record to the largest distances of each length, over all tensors and kinds of inputs.

    Args:
        record: manifest.json's `parity` or `scan_parity`, as JSON has it.

    Returns:
        JSON: `exact` (the reference for sequences), `samples`, `checks`, and `distances`. The latter has a list for
        each length: steps, then the largest distance of the graph from the module, of the graph from float64, and of
        the module from float64. Distances that aren't finite are null.
    """
    by_length: dict[int, list[float]] = {}
    for distance in record.get("distances", ()):
        found = [_size(distance.get(name, 0.0)) for name in _DISTANCES]
        so_far = by_length.setdefault(int(distance.get("length", 0)), found)
        by_length[int(distance.get("length", 0))] = [max(pair) for pair in zip(so_far, found, strict=True)]
    return json.dumps(
        {
            "exact": record.get("exact") or "float64",
            "samples": record.get("samples", 0),
            "checks": record.get("checks", []),
            "distances": [[length, *map(_rounded, found)] for length, found in sorted(by_length.items())],
        }
    )


def _size(number: float | str) -> float:
    """Return a number's magnitude for sorting. JSON may have it as text. NaN is larger than all numbers."""
    size = abs(float(number))
    return math.inf if math.isnan(size) else size


def _rounded(value: float) -> float | None:
    return float(f"{value:.3g}") if math.isfinite(value) else None
