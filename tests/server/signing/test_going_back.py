"""A model does not go back behind what has served, unless that is allowed."""

import datetime as dt
import json
import re
import shutil

import pytest

from kit.served import served
from kit.signed_versions import publish_signed, serving_versions, sign, signed_by
from rnnserve.server.errors import LoadFailed, StartError
from rnnserve.server.repository import loader
from rnnserve.server.repository.trial_process import Trial


def serve_all(config):
    """Let all versions of a model serve, not the latest alone."""
    text, changes = re.subn(r"version_policy.*", "version_policy: { all {} }", config.read_text())
    assert changes == 1
    config.write_text(text)


def test_model_does_not_go_back(repository, key):
    """Neither where the later version has gone, nor where it is damaged, nor where another release is put back."""
    first, second = publish_signed(repository, key), publish_signed(repository, key, version=2)
    with served(repository, **signed_by(key)) as running:
        assert serving_versions(running.server) == [2]
        (second / "model.onnx").write_bytes(b"")
        with pytest.raises(LoadFailed, match=r"version 2: model.onnx: is not the file"):
            running.server.live.load("good")
        assert serving_versions(running.server) == [2]
        shutil.rmtree(second)
        with pytest.raises(LoadFailed, match=r"version 1: release.json: has sequence number 1 of .*, and one of 2 of"):
            running.server.live.load("good")
        assert serving_versions(running.server) == [2]
        sign(first, key, sequence=3)
        running.server.live.load("good")
        assert serving_versions(running.server) == [1]


def test_older_release_of_the_same_version_is_not_put_back(repository, key, tmp_path):
    folder = publish_signed(repository, key, now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    shutil.copytree(folder, tmp_path / "older")
    sign(folder, key, now=dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
    with served(repository, **signed_by(key)) as running:
        shutil.copytree(tmp_path / "older", folder, dirs_exist_ok=True)
        with pytest.raises(
            LoadFailed, match="has sequence number 1 of 2026-01-01T00:00:00Z, and one of 1 of 2026-01-02"
        ):
            running.server.live.load("good")
        assert serving_versions(running.server) == [1]


def test_model_goes_back_if_that_is_allowed(repository, key):
    publish_signed(repository, key)
    second = publish_signed(repository, key, version=2)
    with served(repository, **signed_by(key), allow_rollback=True) as running:
        assert serving_versions(running.server) == [2]
        shutil.rmtree(second)
        running.server.live.load("good")
        assert serving_versions(running.server) == [1]


def test_earlier_versions_serve_beside_a_later_one(repository, key, tmp_path):
    record = tmp_path / "record.json"
    for version in (1, 2, 3):
        folder = publish_signed(repository, key, version=version)
    serve_all(folder.parent / "config.pbtxt")
    for version in (1, 2, 3):
        sign(folder.parent / str(version), key)
    for _ in range(2):  # the second start has the record of the first
        with served(repository, **signed_by(key), signature_record=record) as running:
            assert serving_versions(running.server) == [1, 2, 3]
            running.server.live.load("good")
            assert serving_versions(running.server) == [1, 2, 3]
    shutil.rmtree(folder)
    gone_back = pytest.raises(StartError, match=r"version 2: release.json: has sequence number 2")
    with gone_back, served(repository, **signed_by(key), signature_record=record):
        pass


def test_earlier_version_waits_for_a_later_one_that_takes_long(repository, key, tmp_path, monkeypatch):
    """Then both serve; and where the later one does not pass, neither does."""
    record = tmp_path / "record.json"
    for version in (1, 2):
        folder = publish_signed(repository, key, version=version)
    serve_all(folder.parent / "config.pbtxt")
    for version in (1, 2):
        sign(folder.parent / str(version), key)
    with served(repository, **signed_by(key), signature_record=record):
        pass
    slow = {"2"}

    def hurry(folder, name, version, *args, **more):
        if version in slow:
            slow.discard(version)
            more |= {"processor_seconds": 0.0}  # with `seconds` its own limit could end it first
        return Trial(folder, name, version, *args, **more)

    monkeypatch.setattr(loader, "Trial", hurry)
    with served(repository, **signed_by(key), signature_record=record) as running:
        running.server._loader.wait()
        assert (serving_versions(running.server), slow) == ([1, 2], set())


def test_record_outlasts_the_server(repository, key, tmp_path):
    record = tmp_path / "record.json"
    publish_signed(repository, key)
    second = publish_signed(repository, key, version=2)
    settings = {"signature_record": record}
    with served(repository, **signed_by(key), **settings):
        pass
    assert json.loads(record.read_text())["models"]["good"][0] == 2
    shutil.rmtree(second)
    gone_back = pytest.raises(StartError, match=r"version 1: release.json: has sequence number 1")
    with gone_back, served(repository, **signed_by(key), **settings):
        pass
    with served(repository, **signed_by(key), allow_rollback=True, **settings) as running:
        assert serving_versions(running.server) == [1]
    with served(repository, **signed_by(key), **settings) as running:  # it was gone back to
        assert serving_versions(running.server) == [1]
    with served(repository, **signed_by(key)) as running:  # without the record
        assert serving_versions(running.server) == [1]


def test_unreadable_record_lets_nothing_serve(repository, key, tmp_path):
    record = tmp_path / "record.json"
    folder = publish_signed(repository, key)
    with served(repository, **signed_by(key), signature_record=record) as running:
        record.write_text("[]")
        sign(folder, key, sequence=2)
        with pytest.raises(LoadFailed, match="--signature-record names a file that is no record of releases"):
            running.server.live.load("good")
        assert serving_versions(running.server) == [1]
    with (
        pytest.raises(StartError, match="no record of releases"),
        served(repository, **signed_by(key), signature_record=record),
    ):
        pass
    with (
        pytest.raises(StartError, match="cannot be written"),
        served(repository, **signed_by(key), signature_record=tmp_path / "none" / "record"),
    ):
        pass
