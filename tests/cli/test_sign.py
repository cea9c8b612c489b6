"""`rnnserve sign` signs versions and refuses what would not serve."""

import pytest

from kit.bad_versions import publish_good
from kit.signed_versions import make_key
from rnnserve.cli import main
from rnnserve.protos.signing.signed_version import BUNDLE, RELEASE, read_signed


@pytest.fixture
def folder(tmp_path):
    return publish_good(tmp_path / "repository")


def test_versions_are_signed(tmp_path, folder, capsys):
    key, second = make_key(tmp_path, "ours"), publish_good(tmp_path / "repository", version=2)
    assert main(["sign", str(folder), str(second), "--key", str(key.private)]) == 0
    assert capsys.readouterr().out == (
        f"good version 1, sequence 1: signed with the key {key.key.id}\n"
        f"good version 2, sequence 2: signed with the key {key.key.id}\n"
    )
    assert read_signed(second, [key.key.public]).release.version == 2


def test_key_password_and_sequence_number_are_used(tmp_path, folder):
    key = make_key(tmp_path, "ours", password=b"secret")
    password = str(tmp_path / "ours.password")
    sign = ["sign", str(folder), "--key", str(key.private), "--key-password-file", password, "--sequence", "17"]
    assert main(sign) == 0
    assert read_signed(folder, [key.key.public]).release.sequence == 17


def test_release_only_writes_no_signature(folder, capsys):
    assert main(["sign", str(folder), "--release-only"]) == 0
    assert (folder / RELEASE).exists()
    assert not (folder / BUNDLE).exists()
    assert "sign it next" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "model.onnx: has changed since publication"),
        (lambda folder: (folder.parent / "config.pbtxt").unlink(), "config.pbtxt: is missing"),
        (lambda folder: (folder / "more").mkdir(), "more: is a folder"),
    ],
)
def test_version_that_cannot_be_served_is_not_signed(tmp_path, folder, change, said, capsys):
    key = make_key(tmp_path, "ours")
    change(folder)
    assert main(["sign", str(folder), "--key", str(key.private)]) == 1
    assert said in capsys.readouterr().err
    assert not (folder / BUNDLE).exists()


@pytest.mark.parametrize("at", ["..", "../..", "nothing"])
def test_folder_that_is_not_a_version_is_refused(tmp_path, folder, at, capsys):
    """The model's, the repository's, or none: the message says what is wanted, and not that a file is missing."""
    key = make_key(tmp_path, "ours")
    assert main(["sign", str((folder / at).resolve()), "--key", str(key.private)]) == 1
    assert "is not the folder of a version; expected a path such as repository/sentiment/1" in capsys.readouterr().err
