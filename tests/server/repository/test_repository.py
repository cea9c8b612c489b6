"""Which versions serve, and the exact reasons why others don't."""

import logging
import os

import pytest

from kit.fake_checks import NO_GOOD, serve_newest
from kit.loaded import load_repository
from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.errors import NotReady, StartError
from rnnserve.server.repository import loader
from rnnserve.server.repository.repository import READY, UNAVAILABLE, Repository, Status


@pytest.fixture
def root(tmp_path, fake_loading):
    """Models "a" (versions 1, 2, 10) and "b" (version 1), and the load checks that they go through."""
    for folder in ("a/1", "a/2", "a/10", "a/latest", "b/1", ".hidden/1"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a" / "3").touch()
    return tmp_path, fake_loading


def loaded(root) -> Repository:
    folder, checks = root
    return load_repository(folder, checks=checks)


def statuses(models: Repository) -> dict[str, dict[int, Status]]:
    return {name: dict(of_versions) for name, of_versions in models.statuses()}


def test_newest_version_serves(root):
    models = loaded(root)
    newer = Status(UNAVAILABLE, "a newer version serves")
    assert statuses(models) == {"a": {1: newer, 2: newer, 10: Status(READY)}, "b": {1: Status(READY)}}
    assert (models.generation, models.is_ready(), models.versions("a")) == (2, True, ["10"])
    found = models.find("a")
    assert found is models.find("a", "10")
    assert (found.model.name, found.model.version, found.config.name) == ("a", "10", "a")
    assert models.served() == [found, models.find("b")]
    assert {found: "a key"}[models.find("a")] == "a key"
    assert models.is_served("a")
    assert models.is_served("a", "10")
    assert not models.is_served("a", "1")
    with pytest.raises(NotReady, match=r'^model "a" is not served: version 1: a newer version serves$'):
        models.find("a", "1")


def test_config_can_select_several_versions(root, monkeypatch):
    serve_newest(monkeypatch, wanted=2, not_chosen=(2,))
    models = loaded(root)
    not_chosen = Status(UNAVAILABLE, "not chosen by version_policy in config.pbtxt")
    assert statuses(models)["a"] == {1: Status(READY), 2: not_chosen, 10: Status(READY)}
    assert models.versions("a") == ["1", "10"]
    assert [served.model.version for served in models.served()] == ["1", "10", "1"]
    assert models.find("a").model.version == "10"


def test_unreadable_config_is_the_reason_for_every_version(root, monkeypatch):
    def read(folder, inside, only, check):
        assert inside is None  # links may lead anywhere where what serves does not change
        if folder.name == "b":
            raise ArtifactError("config.pbtxt: is\n  missing")
        return model_config_pb2.ModelConfig()

    monkeypatch.setattr(loader, "read_config", read)
    models = loaded(root)
    assert statuses(models)["b"] == {1: Status(UNAVAILABLE, "config.pbtxt: is missing")}
    with pytest.raises(NotReady, match=r'^model "b" is not served: config.pbtxt: is missing$'):
        models.find("b", "1")


def test_repository_without_a_serving_model_is_a_start_error(root):
    folder, checks = root
    checks.refuse("a/1", "a/2", "a/10", "b/1")
    (folder / "c").mkdir()
    said = (
        f"no model in {folder} can be served:\n"
        f'  model "a" is not served: version 1: {NO_GOOD}; version 2: {NO_GOOD}; version 10: {NO_GOOD}\n'
        f'  model "b" is not served: version 1: {NO_GOOD}\n'
        '  model "c" is not served: has no versions; expected folders named 1, 2, …'
    )
    with pytest.raises(StartError) as ended:
        loaded(root)
    assert str(ended.value) == said


def test_model_with_a_name_that_clients_cannot_send_is_ignored(root, caplog):
    """Lists of models are sent as UTF-8: one such name would be the end of every list."""
    folder, _ = root
    for name in (b"not \xff utf-8", b"two\nlines"):
        os.mkdir(os.path.join(os.fsencode(folder), name))  # noqa: PTH102, PTH118 - a path of bytes
    with caplog.at_level(logging.ERROR):
        assert statuses(loaded(root)).keys() == {"a", "b"}
    left_out = [message for message in caplog.messages if message.startswith("Ignoring")]
    assert left_out == [
        "Ignoring 'not \\udcff utf-8', because clients cannot request a model with this name",
        "Ignoring 'two\\nlines', because clients cannot request a model with this name",
    ]
