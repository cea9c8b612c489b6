"""`rnnserve infer`: reads sequences from a file or standard input, classifies them on a server, prints the labels."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.client.classification import Classification
from rnnserve.client.commands.connection_options import URL_HELP, add_tls_options
from rnnserve.client.errors import ClientError, DeadlineExceeded, Unavailable, UnreadableInput
from rnnserve.client.reading import FORMATS, NamedSequences, read_sequences
from rnnserve.client.sync_client import Client

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClientError,)

_STDIN = "standard input"

_FORMATS_HELP = """\
input formats (a point has as many numbers as the model has features):
  json  a list of sequences, each a list of points; or a single sequence
          [[[0, 0], [0, 1], [1, 1]], [[0, 0], [1, 0]]]
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
  npy   one array that numpy.save wrote: (length, features), or (batch, sequence, features)

examples:
  rnnserve infer direction_simple walks.csv
  echo '[[0, 0], [0, 1], [1, 1], [1, 0]]' | rnnserve infer direction_simple --format json
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
        "--format", choices=("table", "json"), default="table", help="format of the output (default %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="seconds to wait for the answer (default %(default)g)",
    )
    _let_file_come_last(parser)


def run(args: argparse.Namespace) -> int:
    """Read the sequences, classify them, print the results."""
    sequences = _read(args.file or "-", args.input_format)
    with Client(
        args.url,
        timeout=args.timeout,
        tls_ca=args.tls_ca,
        tls_certificate=args.tls_certificate,
        tls_key=args.tls_key,
    ) as client:
        results = _classify(client, args.model, args.model_version, sequences)
    print(_json(args.model, sequences, results) if args.format == "json" else _table(sequences, results))
    return 0


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


def _read(file: str, format_: str) -> NamedSequences:
    if file == "-":
        if sys.stdin.isatty():
            print("reading sequences from the keyboard, up to Ctrl-D", file=sys.stderr)
        return read_sequences(sys.stdin.buffer.read(), _STDIN, format_)
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise UnreadableInput(
            f"{file}: cannot be read ({error.strerror}). Expected a file, or - for {_STDIN}"
        ) from error
    return read_sequences(data, file, format_)


def _classify(client: Client, model: str, version: str, sequences: NamedSequences) -> list[Classification]:
    try:
        return client.classify(model, sequences.points, version=version, states=False)
    except Unavailable as error:
        if client.is_live():
            raise
        raise Unavailable(
            f"no server answers at {client.url}: start one with `make serve`, or give its address with --url ({error})"
        ) from error
    except DeadlineExceeded as error:
        raise DeadlineExceeded(f"no answer from {client.url} in time: --timeout sets the limit ({error})") from error
    except ClientError as error:
        # The command prints one line, which does not include notes.
        notes = getattr(error, "__notes__", [])
        raise type(error)("; ".join([str(error), *notes]), error.status) from error


def _table(sequences: NamedSequences, results: Sequence[Classification]) -> str:
    rows = [
        (name, str(len(points)), result.label, f"{result.probabilities[result.index]:.4f}")
        for name, points, result in zip(sequences.names, sequences.points, results, strict=True)
    ]
    return format_aligned_table(("sequence", "points", "label", "probability"), rows, text_columns=(0, 2))


def _json(model: str, sequences: NamedSequences, results: Sequence[Classification]) -> str:
    answers = [
        {
            "sequence": name,
            "points": len(points),
            "label": result.label,
            "index": result.index,
            "probability": float(result.probabilities[result.index]),
            "probabilities": result.probabilities.tolist(),
        }
        for name, points, result in zip(sequences.names, sequences.points, results, strict=True)
    ]
    document = {"model": model, "model_version": results[0].model_version, "sequences": answers}
    return json.dumps(document, indent=2, ensure_ascii=False)
