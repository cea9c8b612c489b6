"""Which versions serve, and the exact words about those that do not."""

import types

import pytest

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.errors import NotFound, NotReady, StartError
from rnnserve.server.repository import repository
from rnnserve.server.repository.pins import ModelPins, Pin, dump_pins, read_pins
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Repository, Status

NO_GOOD = "golden.npz: no good"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Models "a" (versions 1, 2, 10) and "b" (version 1), of which those in `bad` cannot be loaded."""
    for folder in ("a/1", "a/2", "a/10", "a/latest", "b/1", ".hidden/1"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a" / "3").touch()
    bad: set[str] = set()

    def load(folder, name, version, device, *, allow_unproven):
        assert (folder, device, allow_unproven) == (tmp_path / name / version, "cpu", False)
        if f"{name}/{version}" in bad:
            raise ArtifactError(NO_GOOD)
        manifest = types.SimpleNamespace(inputs=[], outputs=[])
        return types.SimpleNamespace(name=name, version=version, manifest=manifest, device=device)

    monkeypatch.setattr(repository, "load_model", load)
    monkeypatch.setattr(repository, "check_tensors", lambda *_: None)
    serve(monkeypatch)
    return tmp_path, bad


def serve(monkeypatch, wanted: int = 1, not_chosen: tuple[int, ...] = ()):
    """Let the configs say that the `wanted` newest versions serve, except for those not chosen."""
    monkeypatch.setattr(repository, "read_config", lambda folder: model_config_pb2.ModelConfig(name=folder.name))

    def choose(_, versions):
        return sorted(set(versions) - set(not_chosen), reverse=True), wanted

    monkeypatch.setattr(repository, "versions_to_serve", choose)


def statuses(models: Repository) -> dict[str, dict[int, Status]]:
    return {name: dict(of_versions) for name, of_versions in models.statuses()}


def test_before_loading_nothing_serves_and_everything_loads(root):
    models = Repository(root[0], "cpu")
    assert statuses(models) == {"a": dict.fromkeys([1, 2, 10], Status(LOADING)), "b": {1: Status(LOADING)}}
    assert list(statuses(models)["a"]) == [1, 2, 10]
    assert (models.generation, models.is_ready(), models.served(), models.versions("a")) == (0, False, [], [])
    assert not models.is_served("a")
    assert not models.is_served("a", "2")
    loading = "version 1: is loading; version 2: is loading; version 10: is loading"
    with pytest.raises(NotReady, match=f'^model "a" does not serve: {loading}$'):
        models.find("a")
    with pytest.raises(NotReady, match=r'^model "a" does not serve: version 2: is loading$'):
        models.find("a", "2")


def test_the_newest_serves(root):
    models = Repository(root[0], "cpu")
    models.load()
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
    with pytest.raises(NotReady, match=r'^model "a" does not serve: version 1: a newer version serves$'):
        models.find("a", "1")


def test_several_serve_where_the_config_says_so(root, monkeypatch):
    serve(monkeypatch, wanted=2, not_chosen=(2,))
    models = Repository(root[0], "cpu")
    models.load()
    not_chosen = Status(UNAVAILABLE, "not chosen by version_policy in config.pbtxt")
    assert statuses(models)["a"] == {1: Status(READY), 2: not_chosen, 10: Status(READY)}
    assert models.versions("a") == ["1", "10"]
    assert [served.model.version for served in models.served()] == ["1", "10", "1"]
    assert models.find("a").model.version == "10"


def test_the_one_before_a_bad_one_serves(root):
    folder, bad = root
    bad.add("a/10")
    models = Repository(folder, "cpu")
    models.load()
    assert statuses(models)["a"] == {
        1: Status(UNAVAILABLE, "a newer version serves"),
        2: Status(READY),
        10: Status(UNAVAILABLE, NO_GOOD),
    }
    assert models.find("a").model.version == "2"
    assert models.is_ready()


def test_a_model_without_a_good_version_does_not_serve(root):
    folder, bad = root
    bad.update({"a/1", "a/2", "a/10"})
    models = Repository(folder, "cpu")
    models.load()
    assert (models.is_ready(), models.generation, models.is_served("a"), models.versions("a")) == (False, 1, False, [])
    said = f"version 1: {NO_GOOD}; version 2: {NO_GOOD}; version 10: {NO_GOOD}"
    with pytest.raises(NotReady, match=f'^model "a" does not serve: {said}$'):
        models.find("a")


def test_a_config_that_cannot_be_read_is_the_reason_of_every_version(root, monkeypatch):
    folder, _ = root

    def read(folder):
        if folder.name == "b":
            raise ArtifactError("config.pbtxt: is\n  missing")
        return model_config_pb2.ModelConfig()

    monkeypatch.setattr(repository, "read_config", read)
    models = Repository(folder, "cpu")
    models.load()
    assert statuses(models)["b"] == {1: Status(UNAVAILABLE, "config.pbtxt: is missing")}
    with pytest.raises(NotReady, match=r'^model "b" does not serve: config.pbtxt: is missing$'):
        models.find("b", "1")


def test_nothing_that_serves_is_the_end(root):
    folder, bad = root
    bad.update({"a/1", "a/2", "a/10", "b/1"})
    (folder / "c").mkdir()
    said = (
        f"no model in {folder} may serve:\n"
        f'  model "a" does not serve: version 1: {NO_GOOD}; version 2: {NO_GOOD}; version 10: {NO_GOOD}\n'
        f'  model "b" does not serve: version 1: {NO_GOOD}\n'
        '  model "c" does not serve: has no versions, folders named 1, 2, …'
    )
    with pytest.raises(StartError) as ended:
        Repository(folder, "cpu").load()
    assert str(ended.value) == said


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("c", "", 'no model is named "c"; there are "a", "b"'),
        ("", "", 'model_name is empty; there are "a", "b"'),
        ("a", "3", 'model "a" has no version "3"; it has 1, 2, 10'),
        ("a", "01", 'model "a" has no version "01"; it has 1, 2, 10'),
    ],
)
def test_what_is_not_there_is_told_with_what_is(root, name, version, said):
    models = Repository(root[0], "cpu")
    models.load()
    with pytest.raises(NotFound) as refused:
        models.find(name, version)
    assert str(refused.value) == said


def test_a_provider_that_fails_ends_the_start(root, monkeypatch):
    def load(*_, **__):
        raise StartError("provider cuda: no")

    monkeypatch.setattr(repository, "load_model", load)
    with pytest.raises(StartError, match=r"^provider cuda: no$"):
        Repository(root[0], "cuda").load()


def digested(monkeypatch):
    """Let manifests have digests that name the version."""
    load = vars(repository)["load_model"]

    def load_with_digest(folder, name, version, device, *, allow_unproven):
        model = load(folder, name, version, device, allow_unproven=allow_unproven)
        model.manifest.self_sha256 = f"{name}/{version}"
        return model

    monkeypatch.setattr(repository, "load_model", load_with_digest)


def test_pins_make_another_repository_serve_the_same(root, monkeypatch):
    """Whatever is published, changed in the configs, or mended meanwhile."""
    digested(monkeypatch)
    folder, bad = root
    bad |= {"a/10", "b/1"}
    first = Repository(folder, "cpu")
    first.load()
    pins = read_pins(dump_pins(first.pins()))
    assert pins == first.pins()
    bad.clear()
    (folder / "a" / "11").mkdir()
    (folder / "c" / "1").mkdir(parents=True)
    serve(monkeypatch, wanted=3, not_chosen=(2,))
    second = Repository(folder, "cpu", pins=pins)
    assert statuses(second)["a"][2] == Status(LOADING)
    second.load()
    assert statuses(second) == statuses(first)
    assert second.versions("a") == ["2"]
    assert second.pins() == pins
    assert dump_pins(second.pins()) == dump_pins(pins)


def test_a_pinned_version_that_has_gone_or_changed_does_not_serve(root, monkeypatch, caplog):
    digested(monkeypatch)
    folder, bad = root
    serve(monkeypatch, wanted=2)
    first = Repository(folder, "cpu")
    first.load()
    pins = dict(first.pins())
    pins["a"] = ModelPins({**pins["a"].versions, 2: Pin("another digest")})
    bad.add("b/1")
    second = Repository(folder, "cpu", pins=pins)
    second.load()
    anew = "was published anew after the other workers had loaded it; SIGHUP restarts them all"
    assert statuses(second)["a"] == {1: statuses(first)["a"][1], 2: Status(UNAVAILABLE, anew), 10: Status(READY)}
    assert statuses(second)["b"] == {1: Status(UNAVAILABLE, NO_GOOD)}
    assert f"a version 2 stays out: {anew}" in caplog.messages


def test_a_model_that_could_not_be_tried_stays_so(root, monkeypatch):
    digested(monkeypatch)
    first = Repository(root[0], "cpu")
    first._entries["b"].reason = "its folder cannot be read: Permission denied"
    first.load()
    second = Repository(root[0], "cpu", pins=first.pins())
    second.load()
    with pytest.raises(NotReady, match='model "b" does not serve: its folder cannot be read: Permission denied'):
        second.find("b")
