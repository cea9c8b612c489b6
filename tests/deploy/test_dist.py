"""What `make dist` compares and checks, without building or installing anything."""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy import dist

ROOT = Path(__file__).parents[2]


def archive(path, names):
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name in names:
                wheel.writestr(name, name)
    else:
        with tarfile.open(path, "w:gz") as sdist:
            for name in names:
                entry = tarfile.TarInfo(f"rnnserve-1/{name}")
                entry.size = len(name)
                sdist.addfile(entry, io.BytesIO(name.encode()))
    return path


@pytest.mark.parametrize("name", ["rnnserve-1-py3-none-any.whl", "rnnserve-1.tar.gz"])
def test_members_of_an_archive_are_named_without_its_top_folder(tmp_path, name):
    names = {"LICENSE", "server/rnnserve/server/py.typed"}
    assert dist.members(archive(tmp_path / name, names)) == names


def test_whole_contents_have_no_mistakes():
    assert dist.mistakes({"rnnserve/a.py", "rnnserve-1.dist-info/licenses/LICENSE"}, ["rnnserve/a.py"]) == []


def test_each_missing_file_and_the_license_are_named():
    wrong = dist.mistakes({"rnnserve/a.py"}, ["rnnserve/a.py", "rnnserve/py.typed"])
    assert wrong == ["rnnserve/py.typed is missing", "LICENSE is missing"]


@pytest.mark.parametrize("folder", dist.NOT_SHIPPED)
def test_what_is_not_shipped_does_not_belong(folder):
    assert dist.mistakes({"LICENSE", f"{folder}a.py"}, []) == [f"{folder}a.py does not belong in it"]


def test_differences_are_other_bytes_and_missing_files(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "same.whl").write_bytes(b"same")
        (folder / "unlike.tar.gz").write_bytes(folder.name.encode())
        (folder / "notes.txt").write_bytes(folder.name.encode())
    (one / "alone.whl").write_bytes(b"alone")
    assert dist.differences(one, other) == ["alone.whl", "unlike.tar.gz"]


def test_the_example_of_the_readme_is_the_block_that_publishes():
    readme = "```python\nprint(1)\n```\n\n```python\npublish(module)\n```\n"
    assert dist.own_module_example(readme) == "publish(module)\n"
    compile(dist.own_module_example((ROOT / "README.md").read_text()), "README.md", "exec")
    with pytest.raises(ValueError, match="no Python block"):
        dist.own_module_example("publish()")


def test_a_build_that_fails_says_so_in_one_line(tmp_path):
    # A folder stands where git would find the repository, so there is no commit to build.
    (tmp_path / "deploy").mkdir()
    script = tmp_path / "deploy/dist.py"
    script.write_bytes((ROOT / "deploy/dist.py").read_bytes())
    done = subprocess.run([sys.executable, script, "--build-only"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("dist: ")
    assert done.stderr.count("\n") == 1
