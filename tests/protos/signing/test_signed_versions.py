"""Signatures of versions: a signed version is accepted, and any change is refused."""

import datetime as dt
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kit.signature_tamperings import TAMPERINGS
from kit.signed_versions import make_key, publish_signed, sign, sign_payload
from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.signing.keys import KeyFileError, read_private_key, read_public_key
from rnnserve.protos.signing.signed_version import (
    BUNDLE,
    RELEASE,
    SignatureError,
    check_release,
    read_claim,
    read_signed,
    write_release,
)

NOW = dt.datetime(2026, 11, 28, 14, 5, 9, tzinfo=dt.UTC)


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path, "ours")


@pytest.fixture
def stranger(tmp_path):
    return make_key(tmp_path, "stranger")


@pytest.fixture
def folder(tmp_path, key):
    return publish_signed(tmp_path / "repository", key)


def admit(folder, *keys):
    """Verify a version as a server does, before and while it reads the files."""
    signed = read_signed(folder, [key.key.public for key in keys])
    check_release(signed.release, "good", 1, (folder.parent / "config.pbtxt").read_bytes())
    read_version(folder, signed=signed.files)
    return signed


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_signed_version_is_read(tmp_path, curve):
    key = make_key(tmp_path, "ours", curve)
    folder = publish_signed(tmp_path / "repository", key, sequence=4, now=NOW)
    signed = admit(folder, key)
    assert signed.key_id == hashlib.sha256(key.public.read_bytes()).hexdigest()
    assert (signed.release.model, signed.release.version) == ("good", 1)
    assert (signed.release.sequence, signed.release.created) == (4, "2026-11-28T14:05:09Z")
    assert signed.files == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != BUNDLE
    }
    assert signed == read_claim(folder)


def test_version_can_be_signed_again(folder, key, stranger):
    sign(folder, stranger, sequence=2)
    assert admit(folder, stranger).release.sequence == 2
    with pytest.raises(SignatureError, match="not a trusted key"):
        admit(folder, key)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampered_version_is_refused(folder, key, stranger, name):
    TAMPERINGS[name].apply(folder, key, stranger)
    with pytest.raises(ArtifactError) as refused:
        admit(folder, key)
    assert TAMPERINGS[name].said in str(refused.value)
    assert str(folder) not in str(refused.value)
    assert str(refused.value).isprintable()  # it is a line of the log, and clients are told it
    assert len(str(refused.value)) < 500


def test_manifest_is_not_parsed_before_its_digest_is_verified(folder, key):
    """An invalid manifest is refused because of its digest, not its content."""
    (folder / "manifest.json").write_bytes(b"{" * 1000)
    with pytest.raises(ArtifactError, match=r"manifest\.json: has changed since it was signed"):
        admit(folder, key)


def test_payload_is_not_parsed_before_its_signature_is_verified(folder, key, stranger):
    sign_payload(folder, stranger, b"{" * 1000)
    with pytest.raises(SignatureError, match="not a trusted key"):
        admit(folder, key)


def test_key_with_a_password_needs_the_password(tmp_path):
    key = make_key(tmp_path, "ours", password=b"secret")
    folder = publish_signed(tmp_path / "repository", key)
    assert admit(folder, key).key_id == read_public_key(key.public).id
    with pytest.raises(KeyFileError, match="has a password: add --key-password-file"):
        read_private_key(key.private)
    (tmp_path / "wrong").write_text("wrong\n")
    with pytest.raises(KeyFileError, match="has another password"):
        read_private_key(key.private, tmp_path / "wrong")


def test_unusable_keys_are_refused(tmp_path, key):
    with pytest.raises(KeyFileError, match="P-256 or P-384"):
        make_key(tmp_path, "large", ec.SECP521R1())
    with pytest.raises(KeyFileError, match="P-256 or P-384"):
        read_public_key(tmp_path / "large.pub")
    with pytest.raises(KeyFileError, match="does not hold a public key in PEM"):
        read_public_key(key.private)
    with pytest.raises(KeyFileError, match="does not hold a private key in PEM"):
        read_private_key(key.public)
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        read_public_key(tmp_path / "none")
    with pytest.raises(KeyFileError, match="has no password"):
        read_private_key(key.private, key.public)


@pytest.mark.parametrize("numbers", [{"sequence": 1 << 63}, {"number": 1 << 63}])
def test_release_with_too_large_numbers_is_not_written(folder, numbers):
    before = (folder / RELEASE).read_bytes()
    with pytest.raises(SignatureError, match="not an integer from 0 to"):
        write_release(folder, **numbers)
    assert (folder / RELEASE).read_bytes() == before


def test_folder_that_is_not_a_version_is_not_signed(tmp_path, folder):
    with pytest.raises(SignatureError, match="is not the folder of a version"):
        write_release(folder.parent)
    (tmp_path / "repository" / "good" / "config.pbtxt").unlink()
    with pytest.raises(SignatureError, match=r"config\.pbtxt: is missing"):
        write_release(folder)
