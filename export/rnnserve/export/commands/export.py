"""`rnnserve export`: export checkpoints and your own modules, verify the exports, and publish them."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.export.commands.shared_arguments import (
    add_repository,
    add_sign_arguments,
    batching_lines,
    check_checkpoint,
    check_repository,
    published_lines,
    read_seal,
)
from rnnserve.export.description.targets import check_target, is_target
from rnnserve.export.errors import ExportError
from rnnserve.models import CheckpointError
from rnnserve.protos.artifact import ArtifactError

if TYPE_CHECKING:
    from rnnserve.export.description.publication import Publication
    from rnnserve.export.pipeline import ExportResult

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ExportError, ArtifactError, CheckpointError, OSError)

_EPILOG = """\
A publication is a module with specs of its inputs and outputs (rnnserve.export.Publication). FILE.py:NAME is a
publication, a list of publications, or a function that returns either. The command exports each module to ONNX and
TorchScript, and compares both with the module itself; --table shows the differences. If they agree, it publishes the
export as the model's next version. A published version never changes. If an export equals the newest version, the
command doesn't publish it again.

examples:
  rnnserve export
  rnnserve export direction_simple --checkpoints checkpoints --repository repository
  rnnserve export my_models.py:sentiment my_package.models:all_of_them
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="a checkpoint's folder in DIR, FILE.py:NAME or package.module:NAME (default: all checkpoints)",
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("checkpoints"),
        metavar="DIR",
        help="folder with checkpoints from `rnnserve train` (default %(default)s)",
    )
    add_repository(parser)
    parser.add_argument(
        "--table", action="store_true", help="print the differences between results by tensor and length"
    )
    add_sign_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Export one model after another. If an export fails, the models before it stay published."""
    names = args.names or _names_in(args.checkpoints)
    for name in names:
        if is_target(name):
            check_target(name)
        else:
            check_checkpoint(args.checkpoints / name)
    check_repository(args.repository)
    seal = read_seal(args)

    # torch takes seconds to import, so cheap checks come first
    from rnnserve.export.pipeline import publish

    for publication in _publications(names, args.checkpoints):
        done = publish(publication, repository=args.repository, progress=sys.stderr.isatty(), seal=seal)
        print("\n".join(_lines(done, args)), flush=True)
    return 0


def _publications(names: Sequence[str], checkpoints: Path) -> "Iterator[Publication]":
    """Read the publications. The user's own modules are read first, so that an error in them shows at once."""
    from rnnserve.export.classifiers import classifier_publication
    from rnnserve.export.description.targets import load_publications
    from rnnserve.models import load_checkpoint

    loaded = {name: load_publications(name) for name in names if is_target(name)}
    for name in names:
        if name in loaded:
            yield from loaded[name]
        else:
            yield classifier_publication(load_checkpoint(checkpoints / name))


def _names_in(checkpoints: Path) -> list[str]:
    names = []
    if checkpoints.is_dir():
        names = sorted(path.name for path in checkpoints.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise ExportError(f"there are no checkpoints in {checkpoints}; create them with `rnnserve train`")
    return names


def _lines(done: "ExportResult", args: argparse.Namespace) -> Iterator[str]:
    from rnnserve.export.parity import parity_summary, parity_table

    parity = done.manifest.parity
    yield f"{done.name}\n\n{parity_table(parity)}\n" if args.table else f"{done.name}: {parity_summary(parity)}"
    yield from batching_lines(done)
    yield from (f"warning: {line}" for line in done.manifest.parity.non_finite)
    if done.unscripted:
        yield f"model.pt was left out, which servers do not need: {done.unscripted}"
    if done.unlowered:
        yield f"model.scan.onnx was left out: {done.unlowered}"
    yield from (
        f'input "{tensor.name}" is required: {tensor.required_because}'
        for tensor in done.manifest.inputs
        if tensor.required_because
    )
    yield from published_lines(done, args)
