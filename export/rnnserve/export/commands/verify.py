"""`rnnserve verify`: verify the published versions in a repository again."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.export.errors import ExportError
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.repository_folders import version_folders

if TYPE_CHECKING:
    from rnnserve.export.verify import Check

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ExportError, ArtifactError, OSError)

_EPILOG = """\
The command verifies each version from its own files, without the checkpoint. It checks the digests, compares
config.pbtxt and the manifest with the ONNX graphs, and reproduces the golden results with onnxruntime and TorchScript.
Then it compares eager PyTorch, TorchScript and ONNX again, as at publication. It prints one line for a version that
passes, and every check of a version that fails.

examples:
  rnnserve verify repository
  rnnserve verify repository direction_simple --table
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("repository", type=Path, metavar="REPOSITORY", help="repository, the folder with the models")
    parser.add_argument(
        "models", metavar="MODEL", nargs="*", help="a model in the repository (default: every version of all models)"
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="print every check, and the differences between results by tensor and length",
    )


def run(args: argparse.Namespace) -> int:
    """Verify one version after another, and print a summary."""
    failed = []
    folders = version_folders(args.repository, args.models)

    # torch takes seconds to import, so cheap checks come first
    from rnnserve.export.verify import verify_version

    for folder in folders:
        title = f"{folder.parent.name} version {folder.name}"
        checks = verify_version(folder, progress=sys.stderr.isatty())
        has_failed = any(check.failures for check in checks)
        if has_failed or args.table:
            print("\n".join(_lines(title, checks, with_table=args.table)), flush=True)
        else:
            print(f"{title}: verified, {len(checks)} checks", flush=True)
        if has_failed:
            failed.append(title)
    count = f"{len(folders)} version{'s' if len(folders) > 1 else ''}"
    if failed:
        print(f"\n{len(failed)} of {count} failed: {', '.join(failed)}")
    elif len(folders) > 1:
        print(f"\n{count} verified")
    return 1 if failed else 0


def _lines(title: str, checks: "Sequence[Check]", *, with_table: bool) -> Iterator[str]:
    from rnnserve.export.parity import parity_table

    yield title
    for check in checks:
        yield f"  {'FAILED' if check.failures else 'ok':<6}  {check.name}"
        yield from (f"          {line}" for failure in check.failures for line in failure.splitlines())
        if with_table and check.parity is not None:
            yield from (f"          {line}".rstrip() for line in parity_table(check.parity).splitlines())
