"""`rnnserve sign`: sign a version, so that servers with `--require-signature` serve it."""

import argparse
from pathlib import Path

from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.signing.keys import KeyFileError, read_private_key
from rnnserve.protos.signing.signed_version import BUNDLE, RELEASE, check_folder, sign_version, write_release

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ArtifactError, OSError)

_EPILOG = f"""\
The command writes two files into the folder of the version. {RELEASE} binds the model, the version number, the model's
config.pbtxt and a sequence number. {BUNDLE} is the signature of this and all other files of the folder, in the format
of OpenSSF model-signing, whose command can also verify it: model_signing verify key FOLDER --signature FOLDER/{BUNDLE}
--public_key KEY. If the version has a signature, the command replaces it.

examples:
  openssl ecparam -name prime256v1 -genkey -noout -out release.key
  openssl ec -in release.key -pubout -out release.pub
  rnnserve sign repository/sentiment/3 --key release.key
  rnnserve serve repository --require-signature release.pub
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "versions", type=Path, nargs="+", metavar="VERSION_FOLDER", help="a version, REPOSITORY/<model>/<version>"
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--key", type=Path, metavar="FILE", help="private key in PEM, on the elliptic curve P-256 or P-384"
    )
    how.add_argument(
        "--release-only",
        action="store_true",
        help=f"write only {RELEASE}, because another tool with the same signature format will sign the version",
    )
    parser.add_argument(
        "--key-password-file", type=Path, metavar="FILE", help="file whose first line is the key's password"
    )
    parser.add_argument(
        "--sequence",
        type=_sequence,
        metavar="N",
        help="sequence number to record in the signature (default: the version's number)",
    )


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of 0 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Sign the versions, after verifying that their files are as published."""
    if args.key is None and args.key_password_file is not None:
        raise KeyFileError(
            "--key-password-file has no effect with --release-only, because nothing is signed; leave one of them out"
        )
    key = None if args.key is None else read_private_key(args.key, args.key_password_file)
    for folder in args.versions:
        check_folder(folder)
        read_version(folder, keep=())
        release = write_release(folder, sequence=args.sequence)
        what = f"{release.model} version {release.version}, sequence {release.sequence}"
        if key is None:
            print(f"{what}: wrote {folder / RELEASE}; sign it next")
            continue
        sign_version(folder, key)
        print(f"{what}: signed with the key {key.id}")
    return 0
