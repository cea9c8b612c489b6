"""Trees of other commits, and that a server runs the code of the tree that it is named after."""

import os
import shutil
import subprocess

import pytest

from benchmarks.source_trees import unpack_commit, working_tree

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

AREAS = {"server": "", "protos": "", "cli": "def main(arguments):\n    print('{name}', *arguments)\n    return 3\n"}


def git(root, *arguments):
    identity = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for who in ("AUTHOR", "COMMITTER"):
        identity |= {f"GIT_{who}_NAME": "tests", f"GIT_{who}_EMAIL": "tests@example.invalid"}
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, env=os.environ | identity)


def write_areas(root, name, areas=tuple(AREAS)):
    for area in areas:
        package = root / area / "rnnserve" / area
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(AREAS[area].format(name=name))


@pytest.fixture
def repository(tmp_path):
    """Two commits, tagged `old` and `new`."""
    root = tmp_path / "a repository"
    root.mkdir()
    git(root, "init", "--quiet")
    for name in ("old", "new"):
        write_areas(root, name)
        git(root, "add", ".")
        git(root, "commit", "--quiet", "--message", f"The {name} one")
        git(root, "tag", name)
    return root


def run(tree):
    return subprocess.run(
        tree.command(["serve", "--flag"]), env={**os.environ, **tree.environment}, capture_output=True, text=True
    )


def test_each_tree_runs_its_own_code(repository, tmp_path):
    for tree, name in (
        (unpack_commit(repository, "old", tmp_path / "commits"), "old"),
        (working_tree(repository), "new"),
    ):
        done = run(tree)
        assert (done.stdout, done.returncode) == (f"{name} serve --flag\n", 3)
