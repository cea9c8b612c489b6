"""What was revoked serves no more, and keys are rotated."""

import pytest

from kit.served import served
from kit.signed_versions import publish_signed, serving_versions, sign, signed_by
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.signing.signed_version import BUNDLE, RELEASE
from rnnserve.server.errors import LoadFailed, StartError


def test_revoked_version_serves_no_more(repository, key, tmp_path):
    refused = tmp_path / "refused"
    refused.write_text("# nothing yet\n\n")
    folder = publish_signed(repository, key)
    with served(repository, **signed_by(key), refused_signatures=refused) as running:
        (signed,) = [each.signed for each in running.server._repository.served()]
        digest = {"key": signed.key_id, "bundle": signed.bundle_sha256, "statement": signed.statement_sha256}
        for what in ("key", "bundle", "statement", "model.onnx", "manifest.json", RELEASE):
            refused.write_text(f"sha256:{'0' * 64}\n{(digest | dict(signed.files))[what]}  # leaked\n")
            with pytest.raises(LoadFailed, match=r"is among --refused-signatures: what it names was revoked"):
                running.server.live.load("good")
            assert serving_versions(running.server) == []
            assert not running.stub.ModelReady(pb.ModelReadyRequest(name="good")).ready
            refused.write_text("")
            running.server.live.load("good")
            assert serving_versions(running.server) == [1]
    assert (folder / BUNDLE).exists()


def test_revoked_version_serves_no_more_after_the_next_poll(repository, keys, tmp_path):
    refused = tmp_path / "refused"
    refused.write_text("")
    publish_signed(repository, keys[0])
    publish_signed(repository, keys[1], "other")
    settings = {"model_control": "poll", "load_model": "", "poll": 3600.0, "refused_signatures": refused}
    with served(repository, **signed_by(*keys) | settings) as running:
        refused.write_text(keys[0].key.id)
        running.server.live.look().result()
        assert (serving_versions(running.server), serving_versions(running.server, "other")) == ([], [1])
        running.server.live.look().result()
        assert (serving_versions(running.server), serving_versions(running.server, "other")) == ([], [1])


def test_broken_list_changes_nothing(repository, key, tmp_path, caplog):
    refused = tmp_path / "refused"
    refused.write_text(key.key.id)
    publish_signed(repository, key)
    with (
        pytest.raises(StartError, match="what it names was revoked"),
        served(repository, **signed_by(key), refused_signatures=refused),
    ):
        pass
    refused.write_text("0" * 64)
    with served(repository, **signed_by(key), refused_signatures=refused) as running:
        refused.write_text("nonsense")
        running.server.live.load("good")
        assert "line 1 is no SHA-256" in caplog.text
        refused.unlink()
        running.server.live.load("good")
        assert "cannot be read: No such file or directory; what it held before is still refused" in caplog.text
        assert serving_versions(running.server) == [1]
    with (
        pytest.raises(StartError, match=r"--refused-signatures .*: cannot be read"),
        served(repository, **signed_by(key), refused_signatures=refused),
    ):
        pass
    refused.write_text("nonsense")
    with (
        pytest.raises(StartError, match="line 1 is no SHA-256"),
        served(repository, **signed_by(key), refused_signatures=refused),
    ):
        pass


def test_key_is_rotated_without_a_restart(repository, keys, tmp_path):
    """Both are trusted. What is signed anew with the second serves on when the first is refused."""
    refused = tmp_path / "refused"
    refused.write_text("")
    folder = publish_signed(repository, keys[0])
    with served(repository, **signed_by(*keys), refused_signatures=refused) as running:
        model = running.server._repository.find("good").model
        sign(folder, keys[1])
        running.server.live.load("good")
        (after,) = running.server._repository.served()
        assert after.model is model  # nothing was loaded again
        assert after.signed.key_id == keys[1].key.id
        refused.write_text(keys[0].key.id)
        running.server.live.load("good")
        assert serving_versions(running.server) == [1]
