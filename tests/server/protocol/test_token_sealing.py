"""Tokens: what was sealed opens again with any of the keys, and nothing else does."""

import base64
import secrets
import string
import sys

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import aead
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.server.errors import InvalidRequest, StartError
from rnnserve.server.protocol.token_sealing import TokenSealing, read_keys

KEY, OTHER = bytes(range(128, 160)), bytes(range(160, 192))
SEALING = TokenSealing([KEY], 1000)


@given(st.binary(max_size=1000))
def test_sealed_state_opens_again(data):
    token = SEALING.seal(data)
    assert len(token) <= SEALING._most_characters
    assert SEALING.open(token) == data
    assert TokenSealing([OTHER, KEY], 1000).open(token) == data
    with pytest.raises(InvalidRequest, match="sealed with a key that this server does not have"):
        TokenSealing([OTHER], 1000).open(token)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_changed_bit_is_noticed(data, draws):
    whole = bytearray(base64.urlsafe_b64decode(SEALING.seal(data)))
    bit = draws.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidRequest, match="was altered"):
        SEALING.open(base64.urlsafe_b64encode(whole).decode())


@given(st.one_of(st.text(max_size=40), st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode())))
def test_any_other_text_is_refused(text):
    with pytest.raises(InvalidRequest, match="session"):
        SEALING.open(text)


ALPHABET = string.ascii_letters + string.digits + "-_+/= \n\t.,"


@given(st.binary(max_size=24), st.data())
def test_token_has_one_spelling(data, draws):
    """Of all texts that base64 reads as the same bytes: other bits after the last byte, padding, spaces, alphabets."""
    token = SEALING.seal(data)
    body = token.rstrip("=")
    at = draws.draw(st.integers(0, len(token)))
    spellings = {
        body,
        *(body + "=" * count for count in range(4)),
        *(token + more for more in ("=", "==", "A", "AAAA", "\n", " ", "\0", token)),
        *(token[:at] + more + token[at:] for more in ALPHABET),
        token.replace("-", "+"),
        token.replace("_", "/"),
        *(body[:-1] + last + token[len(body) :] for last in ALPHABET),
        token.swapcase(),
        " " + token,
    } - {token}
    for spelling in spellings:
        with pytest.raises(InvalidRequest, match="session"):
            SEALING.open(spelling)
    assert SEALING.open(token) == data


def test_tokens_of_one_state_differ():
    """A token tells nothing of its state, not even that it is the same as before."""
    assert len({SEALING.seal(b"state") for _ in range(100)}) == 100


def test_key_opens_no_foreign_token():
    """What is sealed elsewhere with the key, without our context, does not open."""
    nonce = secrets.token_bytes(12)
    foreign = nonce + aead.AESGCMSIV(KEY).encrypt(nonce, b"state", None)
    with pytest.raises(InvalidRequest, match="was altered"):
        SEALING.open(base64.urlsafe_b64encode(foreign).decode())


def test_missing_cipher_is_told(monkeypatch):
    def is_old(key):
        raise UnsupportedAlgorithm("AES-GCM-SIV is not supported by this version of OpenSSL")

    monkeypatch.setattr(aead, "AESGCMSIV", is_old)
    with pytest.raises(StartError, match=r"needs AES-GCM-SIV, which OpenSSL has since 3\.2: update cryptography"):
        TokenSealing([KEY], 1000)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(StartError, match=r"needs the package cryptography.*pip install '\.\[server\]'"):
        TokenSealing([KEY], 1000)


def keys_file(path, data, mode=0o600):
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_files_without_usable_keys_are_refused(tmp_path):
    for data, mode, complaint in (
        (b"", 0o600, "has 0 bytes; expected up to 16 keys of 32 random bytes each"),
        (bytes(range(128, 159)), 0o600, "has 31 bytes"),
        (bytes(range(128, 161)), 0o600, "has 33 bytes"),
        (b"\xff" * 32 * 17, 0o600, "has more than 512 bytes"),
        (b"0123456789abcdef" * 4, 0o600, "holds text"),
        (b"\xff" * 64, 0o600, "holds one key twice"),
        (b"\xff" * 32, 0o604, "every user of this machine may read or write it; chmod o= "),
        (b"\xff" * 32, 0o602, "every user of this machine may read or write it"),
    ):
        path = keys_file(tmp_path / "key", data, mode)
        with pytest.raises(StartError) as refused:
            read_keys(path)
        assert str(refused.value).startswith(f"--session-key {path}: {complaint}")
        assert "\n" not in str(refused.value)
    with pytest.raises(StartError, match=r"cannot be read .No such file"):
        read_keys(tmp_path / "none")
    with pytest.raises(StartError, match="is not a file"):
        read_keys(tmp_path)
    assert read_keys(keys_file(tmp_path / "key", KEY + OTHER, 0o640)) == [KEY, OTHER]
