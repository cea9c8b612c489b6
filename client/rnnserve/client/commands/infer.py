"""`rnnserve infer`: run any model on rows from a file or standard input, and print the results.

With `--follow`, each line is a point of one session. Its result is printed as soon as it arrives.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.client.classification import Classification, classified_output, read_classification
from rnnserve.client.commands.argument_types import parse_seconds
from rnnserve.client.commands.connection_options import (
    URL_HELP,
    add_tls_options,
    add_token_options,
    connection_arguments,
)
from rnnserve.client.errors import (
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    Unavailable,
    UnreadableInput,
    reworded,
)
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.predictions import Prediction
from rnnserve.client.reading import FORMATS, PointReader, read_rows
from rnnserve.client.sessions import Session
from rnnserve.client.sync_client import Client
from rnnserve.client.tensors import Array

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClientError,)

_STDIN = "standard input"
_SHOWN_NUMBERS = 8

_Columns = dict[str, list[str]]
_Fields = list[dict[str, object]]
"""The fields of each row in a JSON document."""

_FORMATS_HELP = """\
For a classifier, which is a model with an output (batch, classes), the command prints labels. For other models, and
with --outputs, it prints outputs. Sequences may have different lengths. You may omit initial states.

input formats (a point has one number for each feature of the model):
  json  a list of sequences, each a list of points; or a single sequence
          [[[0, 0], [0, 1], [1, 1]], [[0, 0], [1, 0]]]
        for token ids, each sequence is a list of integers; for a model of single steps, each row is a list of numbers
          [[5, 17, 3], [8, 2]]
        for several inputs, an object with such a list for each input
          {"source": [[5, 3]], "target": [[1, 7, 2]]}
  csv   one point per line, one column per feature in the model's order, with or without a header; blank lines separate
        sequences
          x,y
          0,0
          0,1

          0,0
          1,0
  npy   one array written by numpy.save: (length, features), or (batch, sequence, features) in the model's order
  npz   arrays written by numpy.savez, one for each input, by the inputs' names

With --follow, each line is one point of a sequence: a line of CSV, or a JSON value such as [0.5, -0.5], or
{"source": …, "target": …} for several inputs. The command prints its result at once. A blank line begins a new
sequence. If a line is not a point, the command reports it on standard error, skips it, and exits with status 1.

examples:
  rnnserve infer direction_simple walks.csv
  rnnserve infer direction_simple walks.csv --outputs logits,h_n --format json
  echo '[[0, 0], [0, 1], [1, 1], [1, 0]]' | rnnserve infer direction_simple --format json
  tail -f sensor.csv | rnnserve infer direction_simple --follow
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _FORMATS_HELP
    parser.add_argument("model", metavar="MODEL", help="name of the model, for example direction_simple")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="file with the sequences, or - for standard input (default)"
    )
    parser.add_argument("--url", default="127.0.0.1:8001", metavar="HOST:PORT", help=URL_HELP)
    add_tls_options(parser)
    add_token_options(parser)
    parser.add_argument(
        "--model-version", default="", metavar="V", help="version of the model (default: the server chooses)"
    )
    parser.add_argument(
        "--input-format",
        choices=("auto", *FORMATS),
        default="auto",
        help="format of the file (default %(default)s: from its suffix, or else from its first bytes)",
    )
    parser.add_argument(
        "--outputs",
        metavar="NAME[,NAME...]",
        help="outputs to print (default: labels for a classifier, all outputs for other models)",
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="format of the results (default %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=parse_seconds,
        default=10.0,
        metavar="SECONDS",
        help="seconds to wait for a response (default %(default)g)",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="send each line as the next point of a session, and print its result at once",
    )
    _let_file_come_last(parser)


def run(args: argparse.Namespace) -> int:
    """Read the rows, run the model on them, and print the results."""
    names = [name.strip() for name in (args.outputs or "").split(",") if name.strip()]
    with contextlib.ExitStack() as stack:
        is_stdin = args.file in (None, "-")
        source = _STDIN if is_stdin else args.file
        with _reading(source):
            file = sys.stdin.buffer if is_stdin else stack.enter_context(Path(args.file).open("rb"))
            if is_stdin and sys.stdin.isatty():
                print("rnnserve infer: reading standard input; press Ctrl-D to end it", file=sys.stderr)
            data = b"" if args.follow else file.read()
        client = stack.enter_context(Client(args.url, timeout=args.timeout, **connection_arguments(args)))
        with _explained(client):
            metadata = client.metadata(args.model, version=args.model_version)
            classified = None if names else classified_output(metadata)
            if args.follow:
                outputs = [classified] if classified else names
                session = stack.enter_context(client.session(args.model, outputs, version=args.model_version))
                with _reading(source):
                    return _follow(session, iter(file.readline, b""), source, classified, metadata, args.format)
        inputs, rows = read_rows(data, source, metadata, args.input_format)
        with _explained(client):
            if classified:
                labelled = client.classify(args.model, inputs, version=args.model_version)
                (cells, answers), version = _describe_labels(labelled), labelled[0].model_version
            else:
                predictions = client.predict(args.model, inputs, names, version=args.model_version)
                (cells, answers), version = _describe_outputs(predictions), predictions[0].model_version
    lengths = [next(iter(sizes.values()), None) for sizes in rows.sizes]  # along the first variable axis
    if args.format == "json":
        sequences = [
            {"sequence": str(index), **({} if length is None else {"points": length}), **answer}
            for index, (length, answer) in enumerate(zip(lengths, answers, strict=True))
        ]
        document = {"model": args.model, "model_version": version, "sequences": sequences}
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    indices = [str(index) for index in range(len(lengths))]
    shown = {"row": indices} if None in lengths else {"sequence": indices, "points": [str(each) for each in lengths]}
    shown |= cells
    texts = [index for index, name in enumerate(shown) if name not in ("points", "probability")]
    print(format_aligned_table(tuple(shown), list(zip(*shown.values(), strict=True)), text_columns=texts))
    return 0


def _follow(
    session: Session[Prediction],
    lines: Iterable[bytes],
    source: str,
    classified: str | None,
    metadata: ModelMetadata,
    output_format: str,
) -> int:
    """Print the result of each line before reading the next one. Returns the exit status.

    If a line is not a point, or the server refuses the point, report it on standard error and skip it.
    """
    reader = PointReader(metadata)
    widths: list[int] = []
    status = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            session.reset()
            continue
        place = f"{source}, line {number}"
        try:
            point = reader.read(line, place)
            if point is None:
                continue
            prediction = session.step(point)
        except InvalidRequest as error:
            where = "" if isinstance(error, UnreadableInput) else f"{place}: "
            print(f"rnnserve infer: {where}{error}", file=sys.stderr, flush=True)
            status = 1
            continue
        except ClientError as error:
            raise reworded(error, f"{place} got no result: {error}") from error
        if classified:
            cells, (fields,) = _describe_labels([read_classification(prediction, classified, metadata)])
        else:
            cells, (fields,) = _describe_outputs([prediction])
        if output_format == "json":
            print(json.dumps({"line": number, "step": session.steps, **fields}, ensure_ascii=False), flush=True)
            continue
        shown = {"step": [str(session.steps)], **cells}
        rows: list[Iterable[str]] = [[cell for (cell,) in shown.values()]]
        if not widths:  # set by the first line, because later lines aren't known yet
            widths = [max(len(name), len(cell)) for name, (cell,) in shown.items()]
            rows.insert(0, shown)
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)
    return status


def _describe_labels(results: Sequence[Classification]) -> tuple[_Columns, _Fields]:
    """Return the table's columns, and each row's fields of the JSON document."""
    cells = {
        "label": [result.label for result in results],
        "probability": [f"{result.probabilities[result.index]:.4f}" for result in results],
    }
    return cells, [
        {
            "label": result.label,
            "index": result.index,
            "probability": float(result.probabilities[result.index]),
            "probabilities": result.probabilities.tolist(),
        }
        for result in results
    ]


def _describe_outputs(results: Sequence[Prediction]) -> tuple[_Columns, _Fields]:
    """Return the table's columns, and each row's fields of the JSON document."""
    cells = {name: [_cell(result[name]) for result in results] for name in results[0]}
    return cells, [{"outputs": {name: array.tolist() for name, array in result.items()}} for result in results]


def _cell(array: Array) -> str:
    """Return the numbers if they are few, or else the shape."""
    if array.size > _SHOWN_NUMBERS or array.dtype == object:
        return f"{'x'.join(map(str, array.shape))} {array.dtype.name}"
    numbers = array.ravel().tolist()
    return " ".join(f"{number:.5g}" if array.dtype.kind == "f" else str(number) for number in numbers)


def _let_file_come_last(parser: argparse.ArgumentParser) -> None:
    """Accept FILE after the options as well: `rnnserve infer MODEL --url HOST:PORT FILE`.

    Before Python 3.12.7, argparse sets an optional positional argument to its default as soon as an option follows the
    previous positional argument, and then reports FILE as unrecognized (python/cpython#59317).
    """
    parse = parser.parse_known_args

    def parse_known_args(
        args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        parsed, rest = parse(args, namespace)
        if parsed.file is None and len(rest) == 1 and (rest[0] == "-" or not rest[0].startswith("-")):
            parsed.file, rest = rest[0], []
        return parsed, rest

    parser.parse_known_args = parse_known_args  # type: ignore[method-assign, assignment]


@contextlib.contextmanager
def _reading(file: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # an error of the output, not of reading the input
    except OSError as error:
        raise UnreadableInput(
            f"cannot read {file} ({error.strerror}); pass a readable file, or - for {_STDIN}"
        ) from error


@contextlib.contextmanager
def _explained(client: Client) -> Iterator[None]:
    """Add a hint for the command's user to the error of a failed call."""
    try:
        yield
    except Unavailable as error:
        if client.is_live():
            raise
        hint = f"no server responds at {client.url}; start one with `make serve`, or pass its address with --url"
        raise reworded(error, f"{hint} ({error})") from error
    except DeadlineExceeded as error:
        hint = f"{client.url} did not respond in time; raise the limit with --timeout"
        raise reworded(error, f"{hint} ({error})") from error
