"""`rnnserve check`: compare an ONNX file from any exporter with its module, and report the differences."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.export.commands.shared_arguments import add_former_timeout, check_file
from rnnserve.export.description.targets import check_target
from rnnserve.export.errors import ExportError, WrongArguments

if TYPE_CHECKING:
    from rnnserve.export.description.publication import Publication

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ExportError, OSError)

_EPILOG = """\
A publication (rnnserve.export.Publication) describes the module, as for `rnnserve export`. The file can come from any
exporter. The command pairs the file's inputs and outputs with the module's by name or, if names differ, in order. Then
it compares the file with the module at many sizes, as `rnnserve export` does with its own files.

The command prints every difference with its size. It also prints the first operator of the module whose result differs
in the file, and the line of your code that calls it.

examples:
  rnnserve check model.onnx --against my_models.py:sentiment
  rnnserve check model.onnx --against my_package.models:all_of_them --model tagger
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("file", type=Path, metavar="MODEL.onnx", help="the ONNX file to check")
    parser.add_argument(
        "--against",
        required=True,
        metavar="FILE.py:NAME",
        help="the publication of the module behind the file; package.module:NAME also works",
    )
    add_former_timeout(parser)
    parser.add_argument("--model", metavar="NAME", help="the publication to use, if FILE.py:NAME is a list")


def run(args: argparse.Namespace) -> int:
    """Compare the file with its module, and print the differences."""
    check_file(args.file)
    check_target(args.against)

    # torch takes seconds to import, so cheap checks come first
    from rnnserve.export import file_check

    publication = _publication(args.against, args.model)
    checked = file_check.check_file(args.file, publication, progress=sys.stderr.isatty())
    if not checked.faults:
        print(f"{args.file} computes the same results as the module, with differences up to {checked.largest:.3g}")
        return 0
    for fault in checked.faults:
        print(f"FAULT    {fault}")
    print(checked.operator or "the first operator with a different result is not known")
    print(f"{args.file} does not compute the same results as the module")
    return 1


def _publication(target: str, name: str | None) -> "Publication":
    from rnnserve.export.description.targets import load_publications

    publications = load_publications(target)
    names = [publication.name for publication in publications]
    if name is None and len(publications) == 1:
        return publications[0]
    if name not in names:
        asked = f'has no model "{name}"' if name else "has several models"
        raise WrongArguments(f"{target} {asked}; choose one with --model: {', '.join(names)}")
    return publications[names.index(name)]
