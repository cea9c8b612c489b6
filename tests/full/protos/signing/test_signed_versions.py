"""Bytes of signed versions, flipped and replaced at random: each is refused, and nothing else is raised."""

import hashlib
import json
import random

import pytest

from kit.signed_versions import make_key, publish_signed, sign_payload, statement_of
from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.signing.signed_version import (
    BUNDLE,
    RELEASE,
    SignatureError,
    check_release,
    read_claim,
    read_signed,
)


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path, "ours")


@pytest.fixture
def folder(tmp_path, key):
    return publish_signed(tmp_path / "repository", key)


def admit(folder, *keys):
    """What a server does before anything is parsed, and while the files are read."""
    signed = read_signed(folder, [key.key.public for key in keys])
    check_release(signed.release, "good", 1, (folder.parent / "config.pbtxt").read_bytes())
    read_version(folder, signed=signed.files)
    return signed


@pytest.mark.parametrize("name", ["golden.npz", "manifest.json", "model.onnx", RELEASE])
def test_flipped_byte_of_any_file_is_refused(folder, key, name):
    data = (folder / name).read_bytes()
    for at in random.Random(name).sample(range(len(data)), min(len(data), 60)):
        changed = data[:at] + bytes([data[at] ^ (1, 0x20, 0x80)[at % 3]]) + data[at + 1 :]
        (folder / name).write_bytes(changed)
        with pytest.raises(ArtifactError, match="has changed since it was signed"):
            admit(folder, key)


def test_flipped_byte_of_a_bundle_is_refused(folder, key):
    """But for spaces between the parts of its JSON, which mean nothing."""
    data, signed = (folder / BUNDLE).read_bytes(), read_claim(folder)
    admitted = 0
    for at in range(len(data)):
        for bit in {1 << (at % 8), 0x20}:
            changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            (folder / BUNDLE).write_bytes(changed)
            try:
                found = read_signed(folder, [key.key.public])
            except SignatureError:
                continue
            admitted += 1
            assert (found.files, found.release, found.key_id) == (signed.files, signed.release, signed.key_id)
            assert changed.split() == data.split()
    assert admitted < 20


@pytest.mark.parametrize("name", [BUNDLE, RELEASE])
def test_random_contents_signed_with_the_right_key_raise_only_signature_errors(folder, key, name):
    """Of a statement, and of a release."""
    draw, release = random.Random(7), (folder / RELEASE).read_bytes()
    statement = json.dumps(statement_of(folder)).encode()
    for _ in range(100):
        data = statement if name == BUNDLE else release
        start, end = sorted(draw.sample(range(len(data)), 2))
        data = data[:start] + draw.choice([b"", b"{", b"]", b"0", b"-1", b"1e999", b"null", b'"', b"\xff"]) + data[end:]
        if name == RELEASE:
            (folder / RELEASE).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            data = statement.replace(hashlib.sha256(release).hexdigest().encode(), digest.encode())
        sign_payload(folder, key, data)
        with pytest.raises(SignatureError) as refused:
            read_signed(folder, [key.key.public])
        assert str(folder) not in str(refused.value)
