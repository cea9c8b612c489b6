"""Trees of other commits, and that a server runs the code of the tree that it is named after."""

import os
import shutil
import subprocess

import pytest

from benchmarks.errors import UnknownCommit
from benchmarks.source_trees import SourceTree, unpack_commit, working_tree

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


@pytest.mark.parametrize("commit", ["none-such", "--all", "deadbeef", ""])
def test_a_commit_that_does_not_exist_is_refused_by_name(repository, tmp_path, commit):
    with pytest.raises(UnknownCommit, match=f"no commit '{commit}'"):
        unpack_commit(repository, commit, tmp_path / "commits")
    assert not (tmp_path / "commits").exists()


def test_a_tree_without_a_server_does_not_run_the_installed_one(tmp_path):
    """The editable install of this project provides `rnnserve.server` to the same interpreter."""
    write_areas(tmp_path, "incomplete", ("protos", "cli"))
    done = run(SourceTree(tmp_path, "incomplete", ""))
    assert done.returncode == 1
    assert "rnnserve.server is found in " in done.stderr
    assert f"expected in {tmp_path}" in done.stderr
