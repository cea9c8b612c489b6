"""What `make dist` compares and checks, without building or installing anything."""

import ast
import io
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

from deploy import dist
from kit.paths import ROOT


def archive(path, names, texts=None):
    """A wheel or an sdist with files, whose texts are their names where none is given."""
    contents = {name: (texts or {}).get(name, name).encode() for name in names}
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in contents.items():
                wheel.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as sdist:
            for name, content in contents.items():
                entry = tarfile.TarInfo(f"rnnserve-1/{name}")
                entry.size = len(content)
                sdist.addfile(entry, io.BytesIO(content))
    return path


def test_missing_and_foreign_files_of_an_archive_are_named(tmp_path):
    names = {"LICENSE", "server/rnnserve/server/py.typed"}
    for name in ("rnnserve-1-py3-none-any.whl", "rnnserve-1.tar.gz"):
        assert dist.members(archive(tmp_path / name, names)) == names
    assert dist.mistakes({"rnnserve/a.py", "rnnserve-1.dist-info/licenses/LICENSE"}, ["rnnserve/a.py"]) == []
    assert dist.mistakes({"rnnserve/a.py"}, ["rnnserve/a.py", "rnnserve/py.typed"]) == [
        "rnnserve/py.typed is missing",
        "LICENSE is missing",
    ]
    for folder in dist.NOT_SHIPPED:
        assert dist.mistakes({"LICENSE", f"{folder}a.py"}, []) == [f"{folder}a.py does not belong in it"]


IN_WHEEL = "rnnserve-1.dist-info/licenses/LICENSE"
METADATA = """\
Metadata-Version: 2.4
Name: rnnserve
Version: 1
Summary: serves
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.11
Description-Content-Type: text/markdown

# rnnserve
"""


@pytest.mark.parametrize(
    ("in_wheel", "in_sdist", "left_out", "wrong"),
    [
        (METADATA, METADATA, (), []),
        (METADATA, METADATA.replace("serves", "is"), (), ["the metadata of wheel and sdist differ"]),
        *[
            (text, text, (), [f"the metadata have no {field}"])
            for field in ("License-Expression", "Requires-Python", "Description-Content-Type", "Summary")
            for text in ["".join(line for line in METADATA.splitlines(True) if not line.startswith(field))]
        ],
        (METADATA[:-11], METADATA[:-11], (), ["the metadata have no description"]),
        (METADATA, METADATA, ("LICENSE",), ["LICENSE is missing in rnnserve-1.tar.gz"]),
        (METADATA, METADATA, (IN_WHEEL,), ["LICENSE is missing in rnnserve-1-py3-none-any.whl"]),
    ],
)
def test_what_metadata_lack_is_named(tmp_path, in_wheel, in_sdist, left_out, wrong):
    names = {"rnnserve-1.dist-info/METADATA", IN_WHEEL} - {*left_out}
    wheel = archive(tmp_path / "rnnserve-1-py3-none-any.whl", names, {"rnnserve-1.dist-info/METADATA": in_wheel})
    sdist = archive(tmp_path / "rnnserve-1.tar.gz", {"PKG-INFO", "LICENSE"} - {*left_out}, {"PKG-INFO": in_sdist})
    assert dist.metadata_mistakes(wheel, sdist) == wrong


def test_differences_are_other_bytes_and_missing_files(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "same.whl").write_bytes(b"same")
        (folder / "unlike.tar.gz").write_bytes(folder.name.encode())
        (folder / "notes.txt").write_bytes(folder.name.encode())
    (one / "alone.whl").write_bytes(b"alone")
    assert dist.differences(one, other) == ["alone.whl", "unlike.tar.gz"]


def test_what_publishes_is_the_example_without_what_asks():
    example = dist.own_module_example((ROOT / "README.md").read_text())
    published = dist.publishing_part(example)
    assert "publish(" in published
    compile(published, "README.md", "exec")
    names = {node.module.split(".")[1] for node in ast.walk(ast.parse(published))
             if isinstance(node, ast.ImportFrom) and node.module.startswith("rnnserve.")}  # fmt: skip
    assert names == {"export"}
    assert "serve(" not in published
    with pytest.raises(ValueError, match="does not serve"):
        dist.publishing_part("publish()\n")


def test_every_extra_is_tried_but_those_that_say_why_not():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    within_all = {"otel", "report", "sbom", "sign"}
    assert {*dist.EXTRAS, *within_all, "dev", "mutants", "ray"} == extras.keys()
    (named,) = re.findall(r"rnnserve\[(.+)\]", "".join(extras["all"]))
    assert within_all < {*named.split(",")}


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
