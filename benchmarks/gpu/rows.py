"""The results: a row for each check that passed or failed, and for each measurement."""

import dataclasses
import json
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

HELD, FAILED, MEASURED = "held", "FAILED", "measured"

_LONGEST_NOTE = 300  # characters


@dataclasses.dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        step: The step that found the result.
        subject: The model, or the sizes.
        what: The check or the measurement, with its unit.
        verdict: `HELD` or `FAILED` for a promise, `MEASURED` for a measurement.
        cpu: The figure on the CPU, or None.
        cuda: The figure on CUDA, or None.
        limit: The limit for CUDA.
        note: More about the result, or the reason why it failed, in one line.
    """

    step: str
    subject: str
    what: str
    verdict: str
    cpu: float | None = None
    cuda: float | None = None
    limit: float | None = None
    note: str = ""


def to_line(row: Row) -> str:
    """Write a row as one line of JSON. Infinity and NaN become text because JSON has no numbers for them."""
    return json.dumps({name: _json_value(value) for name, value in dataclasses.asdict(row).items()}, allow_nan=False)


def from_line(line: str) -> Row:
    """Read a line of `to_line`."""
    fields: dict[str, Any] = json.loads(line)
    for name in ("cpu", "cuda", "limit"):
        if fields[name] is not None:
            fields[name] = float(fields[name])
    return Row(**fields)


def rows_or_failure(step: str, subject: str, find: Callable[[], Iterable[Row]]) -> Iterator[Row]:
    """Yield the rows of `find`, and a row for its exception if it raises, so that other subjects are still tried."""
    try:
        yield from find()
    except Exception as error:  # noqa: BLE001 - whatever a driver, a library or a model raises is the result
        traceback.print_exc(file=sys.stderr)
        yield Row(step, subject, "ran to its end", FAILED, note=one_line(f"{type(error).__name__}: {error}"))


def one_line(text: str) -> str:
    """Put text into one line, and cut it if it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_NOTE else f"{line[:_LONGEST_NOTE]}…"


def _json_value(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
