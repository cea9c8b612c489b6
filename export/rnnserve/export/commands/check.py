"""`rnnserve check`: compare anyone's ONNX export with its module, and name what is wrong."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.common.lasting_imports import lasting_imports
from rnnserve.export.commands.early_checks import check_file
from rnnserve.export.commands.run_timeout import add_run_timeout
from rnnserve.export.description.targets import check_target
from rnnserve.export.errors import ExportError, WrongArguments

if TYPE_CHECKING:
    from rnnserve.export.description.publication import Publication

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ExportError, OSError)

_EPILOG = """\
The module is described by a publication (rnnserve.export.Publication), as for `rnnserve export`. The file may come from
any exporter: tensors and axes with other names are matched in order, and reported. Then the file is compared with the
module at sizes unlike its sample, by the proof that our own exports must pass.

What is wrong is printed a line each, causes first: frozen batch or length, missing lengths or states, a GRU with
linear_before_reset=0, swapped directions or gates, layout=1, and the first node of the graph whose result the module
does not compute.

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
        help="the publication of the module that the file was made from; package.module:NAME works, too",
    )
    add_run_timeout(parser)
    parser.add_argument("--model", metavar="NAME", help="which publication, where FILE.py:NAME is a list of them")


def run(args: argparse.Namespace) -> int:
    """Compare, and print what differs."""
    check_file(args.file)
    check_target(args.against)

    with lasting_imports():  # of torch, after the mistakes that can be seen without it
        from rnnserve.export import diagnosis

    publication = _publication(args.against, args.model)
    checked = diagnosis.check_file(args.file, publication, progress=sys.stderr.isatty(), timeout=args.timeout)
    for difference in checked.differences:
        print(f"differs  {difference}")
    for fault in checked.faults:
        print(f"FAULT    {fault}")
    if checked.faults:
        count = f"{len(checked.faults)} fault{'s' if len(checked.faults) > 1 else ''}"
        print(f"{args.file} does not compute what the module computes: {count}")
        return 1
    print(f"{args.file} computes what the module computes")
    return 0


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
