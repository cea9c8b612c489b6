"""What other workers serve is prepared, adopted and loaded again, and all is where that is asked for."""

import shutil

import pytest

from kit.fake_trials import FOUND
from kit.live_repositories import read_fake, tried
from rnnserve.server.errors import LoadFailed
from rnnserve.server.repository import pinned_loader
from rnnserve.server.repository.repository import Repository


def test_what_another_server_serves_is_prepared_and_adopted_or_refused(published, tmp_path):
    other = Repository(tmp_path, control="poll")
    following = published.follow(other)
    published.publish("a/2")
    published.look()
    pins = published.models.pins()
    published.trials.begun.clear()
    following._prepare(["a"], pins, [("a", 2, FOUND.as_fields())])
    assert tried(published) == []  # since the other server has
    assert other.find("a").model.version == "1"
    following._adopt()
    assert (other.find("a").model.version, other.pins()) == ("2", pins)
    following._adopt()  # nothing is prepared any more
    published.publish("a/2", "second")
    published.look()
    published.publish("a/2", "third")
    with pytest.raises(LoadFailed, match=r"was published anew after the other workers had loaded it"):
        following._prepare(["a"], published.models.pins(), [])
    following._adopt()
    assert other.find("a").model.manifest.self_sha256 == "first"


def test_all_is_loaded_again_where_that_is_asked_for(published):
    """What a restart does, in one process: what does not hold changes nothing, and what is gone serves no more."""
    published.publish("a/2")
    published.publish("b/1", "broken")
    published.publish("c/1")
    published.live._reload()
    assert published.serving("a")[0] == "2"
    assert published.serving("b") == ("1", "first")
    assert published.serving("c")[0] == "1"
    shutil.rmtree(published.root / "a")
    published.live._reload()
    assert not published.models.has("a")


def test_a_repository_that_is_away_or_empty_changes_nothing(published):
    published.root.rename(published.root.parent / "away")
    with pytest.raises(LoadFailed, match="cannot be loaded"):
        published.live._reload()
    published.root.mkdir()
    with pytest.raises(LoadFailed, match="no model lies in"):
        published.live._reload()
    assert published.serving("a") == ("1", "first")


@pytest.mark.parametrize("word", ["other", None])
def test_what_others_serve_is_looked_at_before_it_is_loaded_again(published, monkeypatch, word, caplog):
    """It may be gone for long, and each trial would fill the log."""
    monkeypatch.setattr(pinned_loader, "read_version", read_fake)
    monkeypatch.setattr(pinned_loader, "read_config", lambda *_: None)
    pins = published.models.pins()
    if word is None:
        shutil.rmtree(published.root / "a" / "1")
    else:
        published.publish("a/1", word)
    for _ in range(3):
        with pytest.raises(LoadFailed, match=r"^a: "):
            published.live._mend(["a"], pins)
    assert not tried(published)
    assert not caplog.messages
    published.publish("a/1", "first")
    published.live._mend(["a"], pins)
    published.live._adopt()
    assert published.models.pins() == pins
