"""A version appears whole, by one rename, under a number of its own, or not at all."""

import errno
from pathlib import Path

import pytest

from kit.failing_writes import FailingWrites, everything
from rnnserve.export import ExportError
from rnnserve.export.errors import PublishingFailed
from rnnserve.export.publishing import publish_tried, publish_version
from rnnserve.protos.names import version_number
from rnnserve.protos.triton_config import CONFIG

CONFIG_TEXT = 'name: "model"\n'


def files(mark=b"1"):
    return {"model.onnx": b"graph " + mark, "manifest.json": b"{" + mark + b"}"}


@pytest.fixture
def model(tmp_path):
    return tmp_path / "repository" / "model"


def test_first_version_makes_the_folder_and_the_config(model):
    published = publish_version(model, files(), CONFIG_TEXT)
    assert (published.folder, published.version, published.new) == (model / "1", 1, True)
    assert (model / CONFIG).read_text() == CONFIG_TEXT
    assert everything(model / "1") == files()


def test_versions_count_up_and_nothing_published_changes(model):
    for number in range(1, 4):
        before = everything(model)
        assert publish_version(model, files(b"%d" % number), CONFIG_TEXT).version == number
        assert before.items() <= everything(model).items()
    assert publish_version(model, files(b"1"), CONFIG_TEXT).version == 4  # only the newest version stands for its bytes


def test_next_number_follows_the_highest_that_anything_has(model):
    publish_version(model, files(b"1"), CONFIG_TEXT)
    (model / "009").mkdir()
    assert publish_version(model, files(b"2"), CONFIG_TEXT).version == 10
    (model / "12").write_text("a file")
    assert publish_version(model, files(b"3"), CONFIG_TEXT).version == 13
    (model / "backup-99").mkdir()
    assert publish_version(model, files(b"4"), CONFIG_TEXT).version == 14


def test_same_bytes_are_not_published_again_and_an_edited_config_stays(model):
    publish_version(model, files(), CONFIG_TEXT)
    (model / CONFIG).write_text("edited\n")
    before = everything(model)
    published = publish_version(model, files(), CONFIG_TEXT)
    assert (published.version, published.folder, published.new) == (1, model / "1", False)
    assert everything(model) == before


def test_no_version_is_visible_before_it_is_whole(model, monkeypatch):
    """A server sees only folders whose names are numbers. At every step of writing, these are complete."""
    seen = []
    original = Path.open

    def watched(self, *args, **kwargs):
        seen.append([path.name for path in model.iterdir() if version_number(path.name)])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)
    publish_version(model, files(), CONFIG_TEXT)
    assert len(seen) > len(files())
    assert not any(seen)


def test_loser_of_a_race_takes_the_next_number(model, monkeypatch):
    """Another export publishes between the choice of a number and the rename."""
    original = Path.rename

    def rename(self, target):
        monkeypatch.setattr(Path, "rename", original)
        publish_version(model, files(b"theirs"), CONFIG_TEXT)
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    published = publish_version(model, files(b"ours"), CONFIG_TEXT)
    assert (published.version, published.new) == (2, True)
    assert everything(model / "1") == files(b"theirs")
    assert everything(model / "2") == files(b"ours")
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", CONFIG]


@pytest.mark.parametrize("code", [errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR])
def test_export_tries_a_hundred_numbers_and_gives_up(model, monkeypatch, code):
    """The error of the rename differs by system, and by what has taken the number."""
    attempts = []

    def rename(self, target):
        attempts.append(target)
        raise OSError(code, "taken")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ExportError, match="others publish versions of model faster than a number can be taken"):
        publish_version(model, files(), CONFIG_TEXT)
    assert len(attempts) == 100
    assert not model.exists()


def test_config_that_no_server_reads_is_not_published(model):
    with pytest.raises(ExportError, match=r"nothing is published: config\.pbtxt"):
        publish_tried(model, files(), 'name: "model" output { name: "{"1": "a"}" }\n')
    assert everything(model.parent) == {}


def prepare(root, state):
    """Make the repository in a state; return the model's folder."""
    model = root / "repository" / "model"
    if state == "repository":
        model.parent.mkdir()
    elif state == "model":
        model.mkdir(parents=True)
    elif state == "version":
        publish_version(model, files(b"older"), CONFIG_TEXT)
    return model


@pytest.mark.parametrize(
    "error",
    [None, OSError(errno.EIO, "Input/output error"), OSError(errno.EROFS, "Read-only", "path"), KeyboardInterrupt()],
    ids=["full from then on", "once", "read-only", "interrupted"],
)
@pytest.mark.parametrize("state", ["nothing", "repository", "model", "version"])
def test_any_call_that_fails_leaves_the_repository_as_it_was(tmp_path, state, error):
    (tmp_path / "whole").mkdir()
    model = prepare(tmp_path / "whole", state)
    with pytest.MonkeyPatch.context() as patch:
        writes = FailingWrites(patch)
        publish_version(model, files(), CONFIG_TEXT)
    assert len(writes.calls) > 8
    for at in range(len(writes.calls)):
        root = tmp_path / str(at)
        root.mkdir()
        model = prepare(root, state)
        before = everything(root)
        with pytest.MonkeyPatch.context() as patch:
            FailingWrites(patch, at, error)
            with pytest.raises(BaseException) as failed:
                publish_version(model, files(), CONFIG_TEXT)
        assert everything(root) == before, writes.calls[at]
        if isinstance(error, KeyboardInterrupt):
            assert failed.type is KeyboardInterrupt
        else:
            assert failed.type is PublishingFailed
            assert str(failed.value).startswith(f"{model}: ")
            assert str(failed.value).endswith(". Nothing was published, and nothing was left behind")
        assert publish_version(model, files(), CONFIG_TEXT).version == (2 if state == "version" else 1)


def test_remains_that_cannot_be_removed_are_named(tmp_path, monkeypatch):
    model = prepare(tmp_path, "version")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    FailingWrites(monkeypatch, 2)
    with pytest.raises(PublishingFailed) as failed:
        publish_version(model, files(), CONFIG_TEXT)
    (left,) = [path for path in model.iterdir() if path.name.startswith(".publishing-")]
    assert str(failed.value).endswith(f"Nothing was published, and this was left behind and may be removed: {left}")
