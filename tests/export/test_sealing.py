"""Exports with a key sign a version before anybody can see it."""

import sys

import pytest

from kit.signed_versions import make_key
from rnnserve.export.errors import ExportError
from rnnserve.export.publishing import publish_version, seal_with
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.signing.signed_version import BUNDLE, RELEASE, read_signed

CONFIG_TEXT = 'name: "model"\n'


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path, "ours")


@pytest.fixture
def model(tmp_path):
    return tmp_path / "repository" / "model"


def files(word=b"first"):
    return {"model.onnx": word, "manifest.json": b"{}"}


def test_version_is_signed_with_its_number_before_it_is_visible(model, key):
    seal, seen = seal_with(key.private), []

    def watched(folder, number):
        seal(folder, number)
        seen.append((folder.name.startswith("."), (model / str(number)).exists(), (folder / BUNDLE).exists()))

    for number in (1, 2):
        published = publish_version(model, files(b"%d" % number), CONFIG_TEXT, seal=watched)
        release = read_signed(published.folder, [key.key.public]).release
        assert (release.model, release.version, release.sequence) == ("model", number, number)
    assert seen == [(True, False, True)] * 2
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", "config.pbtxt"]


def test_version_is_signed_for_the_next_free_number(model, key):
    def late(folder, number):
        seal_with(key.private)(folder, number)
        if number == 1:
            (model / "1").mkdir()
            (model / "1" / "taken").touch()

    published = publish_version(model, files(), CONFIG_TEXT, seal=late)
    assert read_signed(published.folder, [key.key.public]).release.version == published.version == 2


def test_version_with_the_same_bytes_from_another_export_is_signed(model, key):
    def late(folder, number):
        if not (model / "1").exists():
            publish_version(model, files(), CONFIG_TEXT)
        seal_with(key.private)(folder, number)

    published = publish_version(model, files(), CONFIG_TEXT, seal=late)
    assert (published.version, published.new) == (1, False)
    assert read_signed(published.folder, [key.key.public]).release.version == 1


def test_published_version_is_signed_again_only_if_its_config_changed(model, key):
    publish_version(model, files(), CONFIG_TEXT)
    assert not (model / "1" / RELEASE).exists()
    bundles = []
    for config in (CONFIG_TEXT, CONFIG_TEXT, "# changed\n"):
        (model / "config.pbtxt").write_text(config)
        assert not publish_version(model, files(), CONFIG_TEXT, seal=seal_with(key.private)).new
        bundles.append((model / "1" / BUNDLE).read_bytes())
    assert bundles[0] == bundles[1] != bundles[2]


def test_version_that_cannot_be_signed_is_not_published(model, key):
    def seal(folder, number):
        (folder / "more").mkdir()
        seal_with(key.private)(folder, number)

    with pytest.raises(ArtifactError, match="more: is a folder"):
        publish_version(model, files(), CONFIG_TEXT, seal=seal)
    assert not model.parent.exists()


def test_missing_key_or_package_is_named(tmp_path, key, monkeypatch):
    with pytest.raises(ArtifactError, match="does not hold a private key in PEM"):
        seal_with(key.public)
    with pytest.raises(ExportError, match="without a key"):
        seal_with(None, tmp_path / "password")
    monkeypatch.setitem(sys.modules, "rnnserve.protos.signing.keys", None)
    with pytest.raises(ExportError, match=r"pip install '\.\[sign\]'"):
        seal_with(key.private)
