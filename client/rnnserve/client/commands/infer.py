"""`rnnserve infer`: reads rows from a file or standard input, asks any model on a server, prints its answers.

With `--follow`, each line is a point of one session, which is answered as soon as it comes.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.client.classification import classified_output
from rnnserve.client.commands.argument_types import argument_type, parse_seconds
from rnnserve.client.commands.connection_options import (
    URL_HELP,
    add_tls_options,
    add_token_options,
    connection_arguments,
)
from rnnserve.client.commands.described_answers import describe_labels, describe_outputs
from rnnserve.client.commands.following import follow_points
from rnnserve.client.errors import ClientError, DeadlineExceeded, Unavailable, UnreadableInput, reworded
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.reading import FORMATS, NamedRows, read_rows
from rnnserve.client.sync_client import Client

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClientError,)

_STDIN = "standard input"

_FORMATS_HELP = """\
A model with an output (batch, classes) is asked for labels; every other model, and --outputs, for its outputs. The
model's metadata tell which axes a row has; rows may have different lengths. Initial states may be left out.

input formats (a point has as many numbers as the model has features):
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
        or, with a column `sequence` in the header, lines with the same id form one sequence
          sequence,x,y
          home,0,0
          home,0,1
          shop,0,0
  npy   one array that numpy.save wrote: (length, features), or (batch, sequence, features); the axes are in the model's
        order
  npz   arrays that numpy.savez wrote, one for each input, by the inputs' names

with --follow, each line is one point of a sequence, and is answered at once: a line of CSV, or a JSON value such as
[0.5, -0.5], or {"source": …, "target": …} for several inputs. A blank line begins a new sequence. A line that is no
point is told on standard error, and the sequence goes on without it; then the exit status is 1.

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
    parser.add_argument("model", metavar="MODEL", help="the model's name, direction_simple for example")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="file with the sequences; - (default) for standard input"
    )
    parser.add_argument("--url", default="127.0.0.1:8001", metavar="HOST:PORT", help=URL_HELP)
    add_tls_options(parser)
    add_token_options(parser)
    parser.add_argument(
        "--model-version", default="", metavar="V", help="the model's version (default: the server's choice)"
    )
    parser.add_argument(
        "--input-format",
        choices=("auto", *FORMATS),
        default="auto",
        help="format of the sequences (default %(default)s: by the file's name, else by its first byte)",
    )
    parser.add_argument(
        "--outputs",
        metavar="NAME[,NAME...]",
        help="print these outputs (default: labels if the model has classes, else all)",
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="format of the output (default %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=argument_type(parse_seconds),
        default=10.0,
        metavar="SECONDS",
        help="seconds to wait for the answer (default %(default)g)",
    )
    parser.add_argument(
        "--follow", action="store_true", help="read points line by line, and answer each as the next step of a session"
    )
    _let_file_come_last(parser)


def run(args: argparse.Namespace) -> int:
    """Read the rows, ask the model about them, print its answers."""
    names = [name.strip() for name in (args.outputs or "").split(",") if name.strip()]
    if args.follow:
        return _follow(args, names)
    data, source = _read(args.file or "-")
    with _connect(args) as client:
        with _explained(client):
            metadata = client.metadata(args.model, version=args.model_version)
        rows = read_rows(data, source, metadata, args.input_format)
        if not names and classified_output(metadata):
            with _explained(client):
                labelled = client.classify(args.model, rows.inputs, version=args.model_version, states=False)
            cells, answers, version = *describe_labels(labelled), labelled[0].model_version
        else:
            with _explained(client):
                predictions = client.predict(args.model, rows.inputs, names, version=args.model_version)
            cells, answers, version = *describe_outputs(predictions), predictions[0].model_version
    lengths = _lengths(rows, metadata)
    if args.format == "json":
        sizes = [{} if lengths is None else {"points": lengths[index]} for index in range(len(rows.names))]
        sequences = [
            {"sequence": name, **size, **answer} for name, size, answer in zip(rows.names, sizes, answers, strict=True)
        ]
        document = {"model": args.model, "model_version": version, "sequences": sequences}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print(_table(rows.names, lengths, cells))
    return 0


def _connect(args: argparse.Namespace) -> Client:
    return Client(args.url, timeout=args.timeout, **connection_arguments(args))


def _follow(args: argparse.Namespace, names: Sequence[str]) -> int:
    """Answer each line as it comes."""
    with contextlib.ExitStack() as stack:
        if args.file in (None, "-"):
            lines, source = sys.stdin.buffer, _STDIN
            if sys.stdin.isatty():
                print("reading points from the keyboard, one a line, up to Ctrl-D", file=sys.stderr)
        else:
            with _reading(args.file):
                lines, source = stack.enter_context(Path(args.file).open("rb")), args.file
        client = stack.enter_context(_connect(args))
        with _explained(client):
            metadata = client.metadata(args.model, version=args.model_version)
            classified = None if names else classified_output(metadata)
            session = client.session(args.model, [classified] if classified else names, version=args.model_version)
            stack.enter_context(session)
        with _explained(client), _reading(source):
            return follow_points(
                session,
                iter(lines.readline, b""),
                source,
                input_format=args.input_format,
                output_format=args.format,
                classified=classified,
            )


def _let_file_come_last(parser: argparse.ArgumentParser) -> None:
    """Accept FILE after the options too: `rnnserve infer MODEL --url HOST:PORT FILE`.

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


def _read(file: str) -> tuple[bytes, str]:
    """Return the content of a file or of standard input, and its name for messages."""
    if file == "-":
        if sys.stdin.isatty():
            print("reading sequences from the keyboard, up to Ctrl-D", file=sys.stderr)
        return sys.stdin.buffer.read(), _STDIN
    with _reading(file):
        return Path(file).read_bytes(), file


@contextlib.contextmanager
def _reading(file: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # of the output
    except OSError as error:
        raise UnreadableInput(
            f"{file}: cannot be read ({error.strerror}). Expected a file, or - for {_STDIN}"
        ) from error


@contextlib.contextmanager
def _explained(client: Client) -> Iterator[None]:
    """Add to a failed call what the user of the command can do."""
    try:
        yield
    except Unavailable as error:
        if client.is_live():
            raise
        said = f"no server answers at {client.url}: start one with `make serve`, or give its address with --url"
        raise reworded(error, f"{said} ({error})") from error
    except DeadlineExceeded as error:
        raise reworded(error, f"no answer from {client.url} in time: --timeout sets the limit ({error})") from error


def _lengths(rows: NamedRows, metadata: ModelMetadata) -> list[int] | None:
    """Return each row's size of the first axis that a request chooses; None if there is no such axis."""
    for name, arrays in rows.inputs.items():
        for index, (_, size) in enumerate(metadata.inputs[name].row_axes):
            if size < 0:
                return [array.shape[index] for array in arrays]
    return None


def _table(names: Sequence[str], lengths: Sequence[int] | None, cells: dict[str, list[str]]) -> str:
    columns: dict[str, Sequence[str]] = {"sequence": names} if lengths is not None else {"row": names}
    if lengths is not None:
        columns["points"] = [str(length) for length in lengths]
    columns |= cells
    texts = [index for index, name in enumerate(columns) if name not in ("points", "probability")]
    return format_aligned_table(tuple(columns), list(zip(*columns.values(), strict=True)), text_columns=texts)
