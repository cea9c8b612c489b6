"""A version appears whole, by one rename, under a number of its own, or not at all."""

import errno
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from rnnserve.export import ExportError
from rnnserve.export.publishing import publish_version
from rnnserve.export.server_trial import publish_tried
from rnnserve.protos.names import version_number
from rnnserve.protos.triton_config import CONFIG

CONFIG_TEXT = 'name: "model"\n'


def files(mark=b"1"):
    return {"model.onnx": b"graph " + mark, "manifest.json": b"{" + mark + b"}"}


def everything(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def model(tmp_path):
    return tmp_path / "repository" / "model"


def test_the_first_version_makes_the_folder_and_the_config(model):
    published = publish_version(model, files(), CONFIG_TEXT)
    assert (published.folder, published.version, published.new) == (model / "1", 1, True)
    assert everything(model) == {CONFIG: CONFIG_TEXT.encode(), **{f"1/{name}": data for name, data in files().items()}}


def test_versions_count_up_and_nothing_published_changes(model):
    for number in range(1, 4):
        before = everything(model) if model.is_dir() else {}
        assert publish_version(model, files(b"%d" % number), CONFIG_TEXT).version == number
        assert before.items() <= everything(model).items()


@pytest.mark.parametrize("taken", ["9", "009"])
def test_the_next_number_follows_the_highest_that_anything_has(model, taken):
    publish_version(model, files(b"1"), CONFIG_TEXT)
    (model / taken).mkdir()
    assert publish_version(model, files(b"2"), CONFIG_TEXT).version == 10
    (model / "12").write_text("a file")
    assert publish_version(model, files(b"3"), CONFIG_TEXT).version == 13
    (model / "backup-99").mkdir()
    assert publish_version(model, files(b"4"), CONFIG_TEXT).version == 14


def test_what_is_published_already_is_not_published_again(model):
    publish_version(model, files(), CONFIG_TEXT)
    before = everything(model)
    published = publish_version(model, files(), "another config\n")
    assert (published.version, published.folder, published.new) == (1, model / "1", False)
    assert everything(model) == before


def test_an_older_version_with_these_bytes_does_not_stand_for_the_newest(model):
    publish_version(model, files(b"1"), CONFIG_TEXT)
    publish_version(model, files(b"2"), CONFIG_TEXT)
    assert publish_version(model, files(b"1"), CONFIG_TEXT).version == 3


def test_an_edited_config_stays(model):
    publish_version(model, files(b"1"), CONFIG_TEXT)
    (model / CONFIG).write_text("edited\n")
    publish_version(model, files(b"2"), CONFIG_TEXT)
    assert (model / CONFIG).read_text() == "edited\n"


def failing(name, when=lambda _: True, error=None):
    """A method of Path that fails, as on a full disk."""
    original = getattr(Path, name)

    def method(self, *args, **kwargs):
        if when(self):
            raise error or OSError(errno.ENOSPC, "No space left on device")
        return original(self, *args, **kwargs)

    return method


MIDDLES = {
    "the folder": ("mkdir", lambda path: path.name.startswith(".publishing")),
    "the second file": ("open", lambda path: path.name == "manifest.json"),
    "the rename": ("rename", lambda _: True),
}


@pytest.mark.parametrize("middle", MIDDLES)
def test_a_failure_in_the_middle_leaves_nothing(model, monkeypatch, middle):
    name, when = MIDDLES[middle]
    with monkeypatch.context() as patch:
        patch.setattr(Path, name, failing(name, when))
        with pytest.raises(OSError, match="No space left"):
            publish_version(model, files(), CONFIG_TEXT)
    assert not model.exists()
    assert publish_version(model, files(), CONFIG_TEXT).version == 1


@pytest.mark.parametrize("middle", MIDDLES)
def test_a_failure_in_the_middle_leaves_older_versions_as_they_were(model, monkeypatch, middle):
    publish_version(model, files(b"1"), CONFIG_TEXT)
    (model / CONFIG).unlink()
    before = everything(model)
    name, when = MIDDLES[middle]
    with monkeypatch.context() as patch:
        patch.setattr(Path, name, failing(name, when))
        with pytest.raises(OSError, match="No space left"):
            publish_version(model, files(b"2"), CONFIG_TEXT)
    after = everything(model)
    after.pop(CONFIG, None)  # it fits the version that is there
    assert after == before
    assert {path.name for path in model.iterdir()} <= {CONFIG, "1"}


def test_a_config_that_cannot_be_written_leaves_nothing(model, monkeypatch):
    monkeypatch.setattr(Path, "replace", failing("replace"))
    with pytest.raises(OSError, match="No space left"):
        publish_version(model, files(), CONFIG_TEXT)
    assert not model.exists()


def test_an_interrupted_export_leaves_nothing(model, monkeypatch):
    monkeypatch.setattr(Path, "rename", failing("rename", error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        publish_version(model, files(), CONFIG_TEXT)
    assert not model.exists()


def test_no_version_is_to_be_seen_before_it_is_whole(model, monkeypatch):
    """What a server sees at every step of writing: folders whose names are numbers, always complete."""
    seen = []
    original = Path.open

    def watched(self, *args, **kwargs):
        seen.append([path.name for path in model.iterdir() if version_number(path.name)])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)
    publish_version(model, files(), CONFIG_TEXT)
    assert len(seen) > len(files())
    assert not any(seen)


def test_the_loser_of_a_race_takes_the_next_number(model, monkeypatch):
    """Another export publishes between our choice of a number and our rename."""
    original = Path.rename
    raced = []

    def rename(self, target):
        if not raced:
            raced.append(target)
            monkeypatch.setattr(Path, "rename", original)
            publish_version(model, files(b"theirs"), CONFIG_TEXT)
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    published = publish_version(model, files(b"ours"), CONFIG_TEXT)
    assert (published.version, published.new) == (2, True)
    assert everything(model / "1") == files(b"theirs")
    assert everything(model / "2") == files(b"ours")
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", CONFIG]


def test_the_loser_of_a_race_for_the_same_bytes_publishes_nothing(model, monkeypatch):
    original = Path.rename

    def rename(self, target):
        monkeypatch.setattr(Path, "rename", original)
        publish_version(model, files(), CONFIG_TEXT)
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert not publish_version(model, files(), CONFIG_TEXT).new
    assert sorted(path.name for path in model.iterdir()) == ["1", CONFIG]


def test_a_rename_that_never_finds_a_free_number_gives_up(model, monkeypatch):
    monkeypatch.setattr(Path, "rename", failing("rename", error=OSError(errno.ENOTEMPTY, "Directory not empty")))
    with pytest.raises(ExportError, match="faster than a number can be taken"):
        publish_version(model, files(), CONFIG_TEXT)
    assert not model.exists()


def _publish_some(model, start, mark):
    start.wait()
    for number in range(5):
        publish_version(
            model, {name: data * 1000 for name, data in files(b"%s %d" % (mark, number)).items()}, CONFIG_TEXT
        )


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_exports_at_once_do_not_mix(model, kind):
    context = multiprocessing.get_context("spawn")
    if kind == "threads":
        start, make = threading.Barrier(2), threading.Thread
    else:
        start, make = context.Barrier(2), context.Process  # type: ignore[assignment]
    workers = [make(target=_publish_some, args=(model, start, mark)) for mark in (b"a", b"b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(path.name for path in model.iterdir()) == sorted([*map(str, range(1, 11)), CONFIG])
    marks = set()
    for number in range(1, 11):
        graph = (model / str(number) / "model.onnx").read_bytes()[:9].removeprefix(b"graph ")
        assert everything(model / str(number)) == {name: data * 1000 for name, data in files(graph).items()}
        marks.add(graph)
    assert len(marks) == 10


@pytest.mark.parametrize("code", [errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR])
def test_a_number_that_is_taken_meanwhile_is_tried_once_more(model, monkeypatch, code):
    """By system and by what has taken it, the error of the rename differs."""
    original, attempts = Path.rename, []

    def rename(self, target):
        attempts.append(target)
        if len(attempts) < 3:
            raise OSError(code, os.strerror(code))
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    published = publish_version(model, files(), CONFIG_TEXT)
    assert (published.version, published.new) == (1, True)
    assert len(attempts) == 3


def test_it_gives_up_after_a_hundred_numbers(model, monkeypatch):
    attempts = []

    def rename(self, target):
        attempts.append(target)
        raise OSError(errno.EEXIST, "File exists")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(
        ExportError, match=r"^others publish versions of model faster than a number can be taken; try again$"
    ):
        publish_version(model, files(), CONFIG_TEXT)
    assert len(attempts) == 100


def test_everything_is_on_the_disk_before_it_is_seen(model, monkeypatch):
    """Files and their folder before the rename, the model's folder after it."""
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


@pytest.mark.parametrize(
    "kind", ["file lost", "folder in a file's place", "file in the version's place", "other bytes"]
)
def test_a_damaged_newest_version_does_not_stand_for_what_is_published(model, kind):
    version = publish_version(model, files(), CONFIG_TEXT).folder
    (version / "model.onnx").unlink()
    if kind == "folder in a file's place":
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


def test_a_failure_keeps_a_config_that_was_there(model, monkeypatch):
    model.mkdir(parents=True)
    (model / CONFIG).write_text("edited\n")
    monkeypatch.setattr(Path, "rename", failing("rename"))
    with pytest.raises(OSError, match="No space left"):
        publish_version(model, files(), CONFIG_TEXT)
    assert everything(model) == {CONFIG: b"edited\n"}


def test_a_failure_keeps_a_folder_that_was_there(model, monkeypatch):
    model.mkdir(parents=True)
    monkeypatch.setattr(Path, "rename", failing("rename"))
    with pytest.raises(OSError, match="No space left"):
        publish_version(model, files(), CONFIG_TEXT)
    assert list(model.iterdir()) == []


def test_a_config_that_no_server_reads_is_not_published(model):
    with pytest.raises(ExportError, match=r"nothing is published: config\.pbtxt"):
        publish_tried(model, files(), 'name: "model" output { name: "{"1": "a"}" }\n')
    assert everything(model.parent) == {}
