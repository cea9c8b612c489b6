"""Publications of several processes at once, the order of writes to disk, and disks that are really full."""

import multiprocessing
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


def publish_some(model, start, mark):
    start.wait()
    for number in range(5):
        large = {name: data * 1000 for name, data in files(b"%s %d" % (mark, number)).items()}
        publish_version(model, large, CONFIG_TEXT)


def test_exports_of_two_processes_do_not_mix(model):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    workers = [context.Process(target=publish_some, args=(model, start, mark)) for mark in (b"a", b"b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(path.name for path in model.iterdir()) == sorted([*map(str, range(1, 11)), CONFIG])
    marks = set()
    for number in range(1, 11):
        mark = (model / str(number) / "model.onnx").read_bytes()[:9].removeprefix(b"graph ")
        assert everything(model / str(number)) == {name: data * 1000 for name, data in files(mark).items()}
        marks.add(mark)
    assert len(marks) == 10


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
def test_damaged_newest_version_does_not_stand_for_what_is_published(model, kind):
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
