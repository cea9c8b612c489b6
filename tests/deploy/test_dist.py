"""What `make dist` compares and checks, without building or installing anything."""

import ast
import io
import re
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


def test_publishing_part_of_the_example_excludes_the_client():
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


def test_every_extra_is_installed_or_listed_as_skipped():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    within_all = {"native", "otel", "report", "sbom", "sign"}
    assert {*dist.EXTRAS, *within_all, "dev", "mutants", "ray"} == extras.keys()
    (named,) = re.findall(r"rnnserve\[(.+)\]", "".join(extras["all"]))
    assert within_all < {*named.split(",")}
