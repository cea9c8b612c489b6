"""What other workers serve is prepared, adopted and loaded again, and all is where that is asked for."""

import pytest

from kit.fake_trials import FOUND
from kit.live_repositories import tried
from rnnserve.server.errors import LoadFailed
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
