"""What other workers serve is prepared, adopted and loaded again, and all is where that is asked for."""

import shutil

import pytest

from rnnserve.server.errors import LoadFailed


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
