"""`rnnserve export`: export checkpoints, prove them, publish them."""

import argparse
import sys
from pathlib import Path

from rnnserve.export.classifiers import export_checkpoint
from rnnserve.export.errors import ExportError
from rnnserve.export.parity import parity_table
from rnnserve.export.pipeline import ExportResult
from rnnserve.models import CheckpointError
from rnnserve.protos.artifact import ArtifactError

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ExportError, ArtifactError, CheckpointError, OSError)

_EPILOG = """\
Each checkpoint is exported to ONNX and TorchScript, and both are compared with the module that was trained; the table
shows how far apart they are. If the proof holds, the checkpoint is published as its model's next version. A published
version never changes, and a checkpoint that is the newest version already is not published again.

examples:
  rnnserve export
  rnnserve export direction_simple --checkpoints checkpoints --repository repository
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("names", metavar="NAME", nargs="*", help="a checkpoint's folder in DIR (default: all of them)")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("checkpoints"),
        metavar="DIR",
        help="where `rnnserve train` has put them (default %(default)s)",
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("repository"),
        metavar="DIR",
        help="where to publish, as DIR/<model>/<version> (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Export one checkpoint after another; if one fails, those before it stay published."""
    for name in args.names or _names_in(args.checkpoints):
        done = export_checkpoint(args.checkpoints / name, args.repository, progress=sys.stderr.isatty())
        print(f"{done.name}\n\n{parity_table(done.manifest.parity)}\n\n{_outcome(done)}\n", flush=True)
    return 0


def _names_in(checkpoints: Path) -> list[str]:
    names = []
    if checkpoints.is_dir():
        names = sorted(path.name for path in checkpoints.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise ExportError(f"there are no checkpoints in {checkpoints}; `rnnserve train` makes them")
    return names


def _outcome(done: ExportResult) -> str:
    if done.published.new:
        return f"{done.name}: published as version {done.published.version}, {done.published.folder}"
    return f"{done.name}: unchanged: version {done.published.version}, {done.published.folder}"
