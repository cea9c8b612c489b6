"""Arguments, checks and output lines that several commands share. The checks run before the slow import of torch."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.export.description.targets import similar_path
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.export.publishing import Seal, seal_with
from rnnserve.protos.batching_modes import BATCHING_MODES
from rnnserve.protos.signing.signed_version import read_claim

if TYPE_CHECKING:
    from rnnserve.export.pipeline import ExportResult

__all__ = [
    "add_former_timeout",
    "add_repository",
    "add_sign_arguments",
    "batching_lines",
    "check_checkpoint",
    "check_file",
    "check_repository",
    "published_lines",
    "read_seal",
]


class _Former(argparse.Action):
    """A removed option. `const` is the error message, with the replacement."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(f"{self.option_strings[0]} has been removed: {self.const}")


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Declare `--repository`."""
    said = (
        "clients can send sequences in parts without it; to have states as inputs and outputs, return them from forward"
    )
    parser.add_argument("--expose-states", action=_Former, nargs=0, const=said, help=argparse.SUPPRESS)
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("repository"),
        metavar="DIR",
        help="where to publish, as DIR/<model>/<version> (default %(default)s)",
    )


def add_former_timeout(parser: argparse.ArgumentParser) -> None:
    """Declare the removed `--timeout`."""
    said = "the command now runs the file itself, and Ctrl-C ends it"
    parser.add_argument("--timeout", action=_Former, nargs="?", const=said, help=argparse.SUPPRESS)


def add_sign_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--sign-key` and `--sign-key-password-file`."""
    parser.add_argument(
        "--sign-key",
        type=Path,
        metavar="FILE",
        help="sign the published version, as `rnnserve sign` does: private key in PEM, on the elliptic curve P-256 or "
        "P-384",
    )
    parser.add_argument(
        "--sign-key-password-file",
        type=Path,
        metavar="FILE",
        help="file whose first line is the password of that key",
    )


def read_seal(args: argparse.Namespace) -> Seal:
    """Return the function that signs versions with the key in the arguments. Without a key it does nothing."""
    return seal_with(args.sign_key, args.sign_key_password_file)


def check_repository(repository: Path) -> None:
    """Check that a version can be published in this repository. The check leaves no files behind."""
    folder = repository
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        what = "is a file" if folder == repository else f"cannot be created, because {folder} is a file"
        raise ExportError(f"the repository {repository} {what}; expected a folder. Nothing was published")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ExportError(
            f"the repository {repository} cannot be written: {error.strerror}. Nothing was published"
        ) from error


def check_file(path: Path) -> None:
    """Check that a file can be read."""
    if not path.exists():
        raise WrongArguments(f"there is no file {path}{similar_path(path)}")
    if not path.is_file():
        raise WrongArguments(
            f"{path} is not a file; expected an ONNX file" if path.is_dir() else f"{path} is not a file"
        )
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise WrongArguments(f"{path} is empty")
    except OSError as error:
        raise WrongArguments(f"{path} cannot be read: {error.strerror}") from error


def check_checkpoint(folder: Path) -> None:
    """Check that the folder contains a checkpoint."""
    if not folder.is_dir():
        raise WrongArguments(
            f"there is no checkpoint {folder}. Create checkpoints with `rnnserve train`, or name your own module as "
            f"FILE.py:NAME{similar_path(folder)}"
        )


def batching_lines(done: "ExportResult") -> Iterator[str]:
    """Report which requests to the published version may share an inference call, and why."""
    yield f"batching {BATCHING_MODES[done.manifest.batching.mode]}"
    yield from (f"  since {reason}" for reason in done.manifest.batching.reasons)


def published_lines(done: "ExportResult", args: argparse.Namespace) -> Iterator[str]:
    """Report a version's folder and signer and, if the server didn't check the version, the reason."""
    if done.untried:
        yield done.untried
    state = "published as" if done.published.new else "unchanged:"
    yield f"{done.name}: {state} version {done.published.version}, {done.published.folder}"
    if args.sign_key is not None:
        signed = read_claim(done.published.folder)
        yield f"signed with the key {signed.key_id}, sequence {signed.release.sequence}"
