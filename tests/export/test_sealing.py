"""What is exported is signed before it is published."""

import sys

import pytest

from kit.signed_versions import make_key
from rnnserve.export.errors import ExportError
from rnnserve.export.publishing import publish_version
from rnnserve.export.sealing import seal_with
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.signing.signed_version import BUNDLE, RELEASE, read_signed

CONFIG_TEXT = 'name: "model"\n'


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path, "ours")


def files(word=b"first"):
    return {"model.onnx": word, "manifest.json": b"{}"}


def test_a_version_is_signed_with_its_number(tmp_path, key):
    model = tmp_path / "repository" / "model"
    for number in (1, 2):
        published = publish_version(model, files(b"%d" % number), CONFIG_TEXT, seal=seal_with(key.private))
        release = read_signed(published.folder, [key.key.public]).release
        assert (published.version, release.model, release.version, release.sequence) == (
            number,
            "model",
            number,
            number,
        )
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", "config.pbtxt"]


def test_it_is_signed_before_it_can_be_seen(tmp_path, key):
    model = tmp_path / "repository" / "model"
    seal = seal_with(key.private)
    seen = []

    def watched(folder, number):
        seal(folder, number)
        seen.append((folder.name.startswith("."), (model / str(number)).exists(), (folder / BUNDLE).exists()))

    publish_version(model, files(), CONFIG_TEXT, seal=watched)
    assert seen == [(True, False, True)]


def test_where_the_number_is_taken_it_is_signed_for_the_next(tmp_path, key):
    model = tmp_path / "repository" / "model"
    seal = seal_with(key.private)

    def late(folder, number):
        seal(folder, number)
        if number == 1:
            (model / "1").mkdir()
            (model / "1" / "taken").touch()

    published = publish_version(model, files(), CONFIG_TEXT, seal=late)
    assert read_signed(published.folder, [key.key.public]).release.version == published.version == 2


def test_what_another_export_publishes_meanwhile_is_signed(tmp_path, key):
    """Both have the same bytes, so that the version of the other is the one that is wanted."""
    model = tmp_path / "repository" / "model"
    seal = seal_with(key.private)

    def late(folder, number):
        if not (model / "1").exists():
            publish_version(model, files(), CONFIG_TEXT)
        seal(folder, number)

    published = publish_version(model, files(), CONFIG_TEXT, seal=late)
    assert (published.version, published.new) == (1, False)
    assert read_signed(published.folder, [key.key.public]).release.version == 1


def test_what_is_published_already_is_signed_once(tmp_path, key):
    model = tmp_path / "repository" / "model"
    publish_version(model, files(), CONFIG_TEXT)
    assert not (model / "1" / RELEASE).exists()
    published = publish_version(model, files(), CONFIG_TEXT, seal=seal_with(key.private))
    assert (published.new, read_signed(published.folder, [key.key.public]).release.version) == (False, 1)
    before = (model / "1" / BUNDLE).read_bytes()
    publish_version(model, files(), CONFIG_TEXT, seal=seal_with(key.private))
    assert (model / "1" / BUNDLE).read_bytes() == before
    (model / "config.pbtxt").write_text("# changed\n")
    publish_version(model, files(), CONFIG_TEXT, seal=seal_with(key.private))
    assert (model / "1" / BUNDLE).read_bytes() != before


def test_what_cannot_be_signed_is_not_published(tmp_path, key):
    def seal(folder, number):
        (folder / "more").mkdir()
        seal_with(key.private)(folder, number)

    with pytest.raises(ArtifactError, match="more: is a folder"):
        publish_version(tmp_path / "repository" / "model", files(), CONFIG_TEXT, seal=seal)
    assert not (tmp_path / "repository").exists()


def test_a_key_that_is_none(tmp_path, key):
    with pytest.raises(ArtifactError, match="holds no private key in PEM"):
        seal_with(key.public)


def test_a_password_without_a_key_signs_nothing(tmp_path):
    with pytest.raises(ExportError, match="no key"):
        seal_with(None, tmp_path / "password")


def test_without_a_key_nothing_is_signed(tmp_path):
    published = publish_version(tmp_path / "model", files(), CONFIG_TEXT, seal=seal_with(None))
    assert sorted(path.name for path in published.folder.iterdir()) == ["manifest.json", "model.onnx"]


def test_it_says_which_package_is_missing(key, monkeypatch):
    monkeypatch.setitem(sys.modules, "rnnserve.protos.signing.keys", None)
    with pytest.raises(ExportError, match=r"pip install '\.\[sign\]'"):
        seal_with(key.private)
