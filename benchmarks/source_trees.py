"""Source trees of this repository: the working tree, and the files of a commit.

`git archive` exports the files of a commit, so neither the working tree nor git's list of worktrees changes. A tree's
server runs with this interpreter and its installed packages unless `SourceTree.python` belongs to another environment.
PYTHONPATH begins with the tree's source roots.
"""

import dataclasses
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.errors import UnknownCommit

SOURCE_ROOTS = ("server", "client", "common", "protos", "load", "cli", "export", "models", "web", "cluster")
"""The folders of a tree that contain portions of the namespace package `rnnserve`."""

_LAUNCHER = Path(__file__).with_name("launch_from_tree.py")


@dataclasses.dataclass(frozen=True)
class SourceTree:
    """A folder with the files of this repository.

    Attributes:
        root: The folder.
        name: Short name for tables: "working tree" or an abbreviated commit.
        description: One line: the commit, with its subject or with the number of changed files.
        python: The interpreter for the tree's server: this interpreter, or the interpreter of a separate environment.
    """

    root: Path
    name: str
    description: str
    python: str = sys.executable

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command for `rnnserve ARGUMENTS` from this tree. The command fails if other code would run."""
        return [self.python, "-P", str(_LAUNCHER), str(self.root), *arguments]

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables for the command."""
        # The editable install adds its folders after PYTHONPATH, so the first `rnnserve.server` found is this tree's.
        paths = [str(self.root / folder) for folder in SOURCE_ROOTS]
        return {"PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])}


def working_tree(root: Path) -> SourceTree:
    """Describe the working tree: its commit, and the number of files that differ from the commit."""
    commit = _git(root, "rev-parse", "--short", "HEAD")
    changed = len(_git(root, "status", "--porcelain").splitlines())
    changes = f"{changed} files changed or not tracked" if changed else "without changes"
    return SourceTree(root, "working tree", f"working tree: commit {commit}, {changes}")


def unpack_commit(root: Path, commit: str, folder: Path) -> SourceTree:
    """Unpack the files of a commit unless the folder already has them.

    Args:
        root: The working tree.
        commit: A hash, tag, branch or any other name that `git rev-parse` takes.
        folder: Folder for the trees of commits. Each tree has the full hash as its name.

    Raises:
        UnknownCommit: If the repository does not contain the commit, or git cannot run.
    """
    sha = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}", what=commit)
    target = folder / sha
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        archive = _run(root, "archive", "--format=tar", sha).stdout
        # Renamed when it is complete, so that an interrupted program leaves no incomplete tree.
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as files:
                files.extractall(partial / "tree", filter="data")
            (partial / "tree").rename(target)
        finally:
            shutil.rmtree(partial)
    summary = _git(root, "show", "--no-patch", "--format=%h: %s", sha)
    return SourceTree(target, summary.partition(":")[0], summary)


def _git(root: Path, *arguments: str, what: str = "HEAD") -> str:
    done = _run(root, *arguments)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or "no such name"
        raise UnknownCommit(f"git cannot find the commit {what!r} in {root}: {said}")
    return done.stdout.decode(errors="replace").strip()


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - no shell, our own arguments
    except OSError as error:
        raise UnknownCommit(f"git cannot be run, so no other commit can be compared: {error}") from error
