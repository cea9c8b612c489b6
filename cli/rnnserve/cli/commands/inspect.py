"""`rnnserve inspect`: show what a repository holds."""

import argparse
import json
from pathlib import Path

from rnnserve.cli.inspection.json_report import json_report
from rnnserve.cli.inspection.text_report import text_report
from rnnserve.cli.inspection.version_record import read_record
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.repository_folders import version_folders

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ArtifactError, OSError)

_EPILOG = """\
Shown for each version: its tensors with datatypes, named axes and roles, the labels, which requests may share a run and
why, where it comes from, what was proven and how far apart values were, its files, and a Python program that asks a
server for it. Only manifests are read, and the digests of files are checked; nothing is run, and neither torch nor onnx
is needed. The exit status is 1 if a version cannot be used.

examples:
  rnnserve inspect repository
  rnnserve inspect repository direction_simple
  rnnserve inspect repository --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "repository", type=Path, metavar="REPOSITORY", help="folder with the models, as `rnnserve export` fills it"
    )
    parser.add_argument("models", metavar="MODEL", nargs="*", help="a model in it (default: all, every version)")
    parser.add_argument("--json", action="store_true", help="print a list of versions as JSON")
    parser.add_argument(
        "--url",
        type=_address,
        default="127.0.0.1:8001",
        metavar="HOST:PORT",
        help="the server that the Python program asks (default %(default)s)",
    )


def _address(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the address is empty; expected HOST:PORT")
    return text


def run(args: argparse.Namespace) -> int:
    """Print a report of each version."""
    records = [read_record(folder) for folder in version_folders(args.repository, args.models)]
    if args.json:
        print(json.dumps([json_report(record, args.url) for record in records], indent=2, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(text_report(record, args.url)) for record in records))
    return 1 if any(record.problem for record in records) else 0
