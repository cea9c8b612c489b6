"""`rnnserve inspect`: show the versions in a repository."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.cli.inspection.json_report import json_report
from rnnserve.cli.inspection.sbom import sbom
from rnnserve.cli.inspection.text_report import text_report
from rnnserve.cli.inspection.version_record import read_record
from rnnserve.common.extras import missing_package
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.repository_folders import version_folders

if TYPE_CHECKING:
    from rnnserve.protos.signing.keys import PublicKey

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ArtifactError, OSError)

_EPILOG = """\
For each version, the command shows its tensors with datatypes, named axes and roles, its labels, which requests may
share a batch and why, and its origin. It also shows the record of the verification, who has signed the version, its
files, and a Python program that calls a server. It reads manifests and signatures, and checks the digests of files. It
runs nothing and needs neither torch nor onnx.

examples:
  rnnserve inspect repository
  rnnserve inspect repository direction_simple
  rnnserve inspect repository --json
  rnnserve inspect repository --sbom
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("repository", type=Path, metavar="REPOSITORY", help="repository, the folder with the models")
    parser.add_argument(
        "models", metavar="MODEL", nargs="*", help="a model in the repository (default: every version of all models)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of versions as JSON")
    form.add_argument(
        "--sbom",
        action="store_true",
        help="print a bill of materials (CycloneDX 1.6, JSON): the versions, their files, and the installed packages "
        "that serve them; needs the extra `sbom`",
    )
    parser.add_argument(
        "--url",
        type=_address,
        default="127.0.0.1:8001",
        metavar="HOST:PORT",
        help="the server's address in the Python program (default %(default)s)",
    )
    parser.add_argument(
        "--public-key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="verify that each version is signed with this key, as a server with --require-signature does: public "
        "key in PEM (you can repeat this option)",
    )


def _address(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the address is empty; expected HOST:PORT")
    return text


def run(args: argparse.Namespace) -> int:
    """Print a report of each version."""
    folders = version_folders(args.repository, args.models)
    keys = _keys(args.public_key)
    records = [read_record(folder, keys) for folder in folders]
    if args.sbom:
        print(sbom(records))
    elif args.json:
        print(json.dumps([json_report(record, args.url) for record in records], indent=2, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(text_report(record, args.url)) for record in records))
    return 1 if any(record.problem or record.signature.holds is False for record in records) else 0


def _keys(paths: Sequence[Path]) -> "list[PublicKey]":
    """Read public keys."""
    if not paths:
        return []
    try:
        from rnnserve.protos.signing.keys import read_public_key
    except ModuleNotFoundError as missing:
        raise ArtifactError(f"--public-key {missing_package(missing.name, 'sign')}") from missing
    return [read_public_key(path) for path in paths]
