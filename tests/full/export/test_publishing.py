"""Publications of several processes at once, the order of writes to disk, and disks that are really full."""

import os
from pathlib import Path

import pytest

from kit.failing_writes import everything
from rnnserve.export.publishing import publish_version
from rnnserve.protos.triton_config import CONFIG

CONFIG_TEXT = 'name: "model"\n'


def files(mark=b"1"):
    return {"model.onnx": b"graph " + mark, "manifest.json": b"{" + mark + b"}"}


@pytest.fixture
def model(tmp_path):
    return tmp_path / "repository" / "model"


def test_files_reach_the_disk_before_the_rename_and_the_folder_after_it(model, monkeypatch):
    events: list[int | str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor):
        events.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def renamed(self, target):
        events.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    folder = publish_version(model, files(), CONFIG_TEXT).folder
    inode = {path: path.stat().st_ino for path in (model / CONFIG, *(folder / name for name in files()), folder, model)}
    before, after = events[: events.index("rename")], events[events.index("rename") + 1 :]
    assert before == [inode[path] for path in (model / CONFIG, *(folder / name for name in files()), folder)]
    assert after == [inode[model]]


@pytest.mark.parametrize("kind", ["file lost", "folder in its place", "file in the version's place", "other bytes"])
def test_damaged_newest_version_does_not_prevent_publishing(model, kind):
    version = publish_version(model, files(), CONFIG_TEXT).folder
    (version / "model.onnx").unlink()
    if kind == "folder in its place":
        (version / "model.onnx").mkdir()
    elif kind == "other bytes":
        (version / "model.onnx").write_bytes(files(b"2")["model.onnx"])
    elif kind == "file in the version's place":
        (version / "manifest.json").unlink()
        version.rmdir()
        version.write_text("a file")
    published = publish_version(model, files(), CONFIG_TEXT)
    assert (published.version, published.new) == (2, True)
    assert everything(model / "2") == files()
