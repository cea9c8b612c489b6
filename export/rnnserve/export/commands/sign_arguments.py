"""The arguments of commands that sign what they publish."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from rnnserve.export.sealing import Seal, seal_with
from rnnserve.protos.signing.signed_version import read_claim

__all__ = ["add_sign_arguments", "read_seal", "signed_lines"]


def add_sign_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--sign-key` and `--sign-key-password-file`."""
    parser.add_argument(
        "--sign-key",
        type=Path,
        metavar="FILE",
        help="sign what is published, as `rnnserve sign` does: private key in PEM, of the elliptic curve P-256 or "
        "P-384",
    )
    parser.add_argument(
        "--sign-key-password-file", type=Path, metavar="FILE", help="file with that key's password in its first line"
    )


def read_seal(args: argparse.Namespace) -> Seal:
    """Give what signs as the arguments say, which may be nothing.

    Raises:
        ArtifactError: If the key cannot be read.
        ExportError: If the package `cryptography` is missing, or there is a password and no key.
    """
    return seal_with(args.sign_key, args.sign_key_password_file)


def signed_lines(args: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Say who has signed a version that was published with the arguments; nothing where it was not to be signed."""
    if args.sign_key is not None:
        signed = read_claim(folder)
        yield f"signed with the key {signed.key_id}, sequence {signed.release.sequence}"
