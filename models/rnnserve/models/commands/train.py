"""`rnnserve train`: train the direction classifiers and write their checkpoints."""

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.models.architecture import ARCHITECTURES, LABELS, architecture_named
from rnnserve.models.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    from rnnserve.models.training import Trained

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES: tuple[type[Exception], ...] = (ModelError,)

_COLUMNS = ("tutorial, 4", "tutorial, 2-4", "walks", "prefixes", "logits up to", "seconds")
_DESCRIPTION = """\
Train classifiers that distinguish clockwise from counter-clockwise walks round the corners of a square, and write each
as a checkpoint for `rnnserve export`: DIR/NAME/weights.safetensors and DIR/NAME/checkpoint.json.

models:
{models}
"""
_EPILOG = """\
Each model takes a few seconds on one CPU core. The table shows the share of held-out sequences that are classified
correctly: the tutorial's sequences of 4 points and of 2 to 4, walks of 2 to 64 points, and all prefixes of 2 or more
points of walks of 64. If a training misses its targets, nothing is written. The same seed gives the same bytes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    width = max(map(len, ARCHITECTURES))
    models = "\n".join(
        f"  {name:<{width}}  {architecture.num_layers} layer(s), {architecture.directions} direction(s), "
        f"hidden size {architecture.hidden}"
        for name, architecture in ARCHITECTURES.items()
    )
    parser.description = _DESCRIPTION.format(models=models)
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", metavar="NAME", nargs="*", help="models to train (default: all of them)")
    parser.add_argument(
        "--checkpoints",
        metavar="DIR",
        type=Path,
        default=Path("checkpoints"),
        help="folder for the checkpoints; an older checkpoint there is replaced (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=13,
        help="random seed of the weights and of the walks and their order, 0 to 2**32 - 1 (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Train each model, write its checkpoint and print its row of the table.

    Raises:
        ModelError: If a name is unknown (then nothing is trained), targets are missed, or a checkpoint cannot be
            written.
    """
    names = list(dict.fromkeys(args.names)) or list(ARCHITECTURES)
    for name in names:
        architecture_named(name)
    _check_folder(args.checkpoints)

    # torch takes seconds to import, so cheap checks come first
    from rnnserve.models import training
    from rnnserve.models.checkpoint import DESCRIPTION, WEIGHTS, save_checkpoint
    from rnnserve.models.folder_replacement import refuse_other_files

    for name in names:
        refuse_other_files(args.checkpoints / name, (WEIGHTS, DESCRIPTION))
    width = max(map(len, names))
    for position, name in enumerate(names):
        started = time.perf_counter()
        trained = training.train(name, seed=args.seed)
        folder = args.checkpoints / name
        save_checkpoint(folder, trained.classifier, name=name, labels=LABELS, report=trained.report)
        if position == 0:
            print(f"{'model':<{width}}", *_COLUMNS, "checkpoint", sep="  ")
        print(_format_row(name.ljust(width), trained, time.perf_counter() - started, folder), flush=True)
    return 0


def _check_folder(checkpoints: Path) -> None:
    """Check before minutes of training that checkpoints can be written. Leaves no files behind."""
    folder = checkpoints
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise CheckpointError(f"{checkpoints} cannot be written: {folder} is a file, expected a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CheckpointError(f"{checkpoints} cannot be written: {error.strerror}") from error


# Formatted without tabulate, because each row is printed as soon as its training ends.
def _format_row(name: str, trained: "Trained", seconds: float, folder: Path) -> str:
    report = trained.report
    figures = [*map(_format_share, report.accuracies), f"{report.largest_logit:.2f}", f"{seconds:.1f}"]
    cells = [figure.rjust(len(column)) for figure, column in zip(figures, _COLUMNS, strict=True)]
    return "  ".join([name, *cells, str(folder)])


def _format_share(accuracy: float) -> str:
    return f"{accuracy:.2%}"
