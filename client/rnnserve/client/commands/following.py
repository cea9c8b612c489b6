"""Following a sequence: each line is a point, answered as the next step of a session as soon as it comes."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence

from rnnserve.client.classification import read_classification
from rnnserve.client.commands.described_answers import describe_labels, describe_outputs
from rnnserve.client.errors import ClientError, InvalidRequest, UnreadableInput, reworded
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.predictions import Prediction
from rnnserve.client.reading.point_lines import PointLines
from rnnserve.client.sessions import Session

__all__ = ["follow_points"]


def follow_points(
    session: Session[Prediction],
    lines: Iterator[bytes],
    source: str,
    *,
    input_format: str,
    output_format: str,
    classified: str | None,
) -> int:
    """Print the answer to each line before the next one is read; return the exit status.

    A line that holds no point, and a point that the server refuses, is told on standard error; the session goes on with
    the next line, as if it had not been there.

    Args:
        session: The session, which has been entered.
        lines: The lines; a blank one begins a new sequence.
        source: Origin of the lines, for messages.
        input_format: "json", "csv" or "auto".
        output_format: "table" or "json", for one JSON object a line.
        classified: Name of the output with the classes, to print labels; None to print the outputs.

    Raises:
        ClientError: A step was not answered for another reason; the message says of which line.
    """
    metadata = session.metadata
    if metadata is None:
        raise RuntimeError("the session has not been entered")
    points = PointLines(metadata, source, input_format)
    columns = _Columns()
    status = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            session.reset()
            continue
        try:
            point = points.read(line, number)
            if point is None:
                continue
            cells, fields = _describe(session.step(point), classified, metadata)
        except InvalidRequest as error:
            place = "" if isinstance(error, UnreadableInput) else f"{source}, line {number}: "
            print(f"rnnserve infer: {place}{error}", file=sys.stderr, flush=True)
            status = 1
            continue
        except ClientError as error:
            raise reworded(error, f"{source}, line {number} was not answered: {error}") from error
        if output_format == "json":
            print(json.dumps({"line": number, "step": session.steps, **fields}, ensure_ascii=False), flush=True)
        else:
            print(columns.format({"step": str(session.steps), **cells}), flush=True)
    return status


def _describe(
    prediction: Prediction, classified: str | None, metadata: ModelMetadata
) -> tuple[dict[str, str], dict[str, object]]:
    if classified is None:
        columns, (fields,) = describe_outputs([prediction])
    else:
        columns, (fields,) = describe_labels([read_classification(prediction, classified, metadata)])
    return {name: cell for name, (cell,) in columns.items()}, fields


class _Columns:
    """Aligns the lines of a table whose later lines are not known yet: by the headings and the first line."""

    def __init__(self) -> None:
        self._widths: Sequence[int] = ()

    def format(self, cells: dict[str, str]) -> str:
        """Return a line; the first one has the headings before it."""
        heading = ""
        if not self._widths:
            self._widths = [max(len(name), len(cell)) for name, cell in cells.items()]
            heading = self._aligned(cells) + "\n"
        return heading + self._aligned(cells.values())

    def _aligned(self, cells: Iterable[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)).rstrip()
