"""Sessions with encrypted client-side state, which the client can neither read nor change.

A request with the parameter `session` = "sealed" begins a session. The response's parameter `session` is an encrypted
state token, and the next request sends it back. A token holds the final states, the number of steps so far, the
version, and the time. The server stores nothing, so every server with the key can continue a session. For the same
reason, a client can send an old token again, and the session continues from there.

Tokens are encrypted with AES-256-GCM-SIV (RFC 8452) and random nonces: replicas that share a key can't share a counter.
With AES-GCM a repeated nonce breaks the key, so 2^32 tokens would be the limit (NIST SP 800-38D, 8.3), which is five
days of 10,000 steps a second. With GCM-SIV a repeated nonce only reveals whether two tokens hold the same bytes.
"""

import base64
import binascii
import dataclasses
import functools
import math
import secrets
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnserve.common.extras import missing_package
from rnnserve.common.regular_files import FileTooLarge, OpenToAll, read_guarded
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import SESSION, SESSION_BEGIN, SESSION_STEPS
from rnnserve.server.errors import InvalidRequest, SessionEnded, StartError, quoted
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import Repository, ServedVersion
from rnnserve.server.settings import Settings
from rnnserve.server.validation.checking import with_valid_values
from rnnserve.server.validation.signature import Array, CheckedRequest, Signature

__all__ = ["SealedStates", "TokenSealing", "read_keys"]

_MAX_STATE_BYTES = 1 << 20
"""Most bytes of states in a token. Encrypting them takes 2.4 ms. One row with hidden size 128 has 512 bytes. Beyond it:
INVALID_ARGUMENT."""

_HEAD = struct.Struct("<32sQdIH")
"""The version's digest, steps so far, seconds since the epoch, rows, bytes of the model's name. The name follows, then
the states in the order of the model's outputs, little-endian."""

_MAX_NAME = (1 << 16) - 1

_CLOCK_SKEW = 300.0
"""Seconds by which the clocks of two servers may differ, as in Kerberos (RFC 4120, 8.2). A token from further in the
future would outlive its age by as much."""

_KEY_BYTES, _MAX_KEYS = 32, 16
_NONCE_BYTES, _TAG_BYTES = 12, 16

_CONTEXT = b"rnnserve sealed session 1"
"""Authenticated with every token, so that tokens of another program or format with the same key are refused."""


class TokenSealing:
    """Encrypts bytes into tokens, and decrypts them. Any thread may use it."""

    def __init__(self, keys: Sequence[bytes], most_bytes: int) -> None:
        """Use 32-byte keys: the first encrypts, all decrypt. Raises StartError without AES-GCM-SIV."""
        try:
            from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
            from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
        except ModuleNotFoundError as missing:
            raise StartError(f"--session-key {missing_package(missing.name, 'server')}") from missing
        try:
            self._keys: list[AESGCMSIV] = [AESGCMSIV(key) for key in keys]
        except UnsupportedAlgorithm as error:
            raise StartError(
                "--session-key needs AES-GCM-SIV from OpenSSL 3.2 or newer; update the package cryptography"
            ) from error
        self._invalid = InvalidTag
        self._most_characters = 4 * (-(-(_NONCE_BYTES + most_bytes + _TAG_BYTES) // 3))

    def seal(self, data: bytes) -> str:
        """Encrypt bytes into a token: base64 text, safe in URLs."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _spelled(nonce + self._keys[0].encrypt(nonce, data, _CONTEXT))

    def open(self, token: str) -> bytes:
        """Return the bytes of a token. Raises InvalidRequest if it is too large, altered, misspelled, or foreign."""
        if len(token) > self._most_characters:
            raise InvalidRequest(
                f"the session token has {len(token):,} characters, but a token has at most {self._most_characters:,}; "
                "send the token of the last response unchanged"
            )
        try:
            whole = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            whole = b""
        if not whole or _spelled(whole) != token:  # such as "+" for "-", or characters after the padding
            raise InvalidRequest(
                f'parameter session is {quoted(token)}: expected "sealed", which begins a session, or the token of '
                "the last response, unchanged"
            )
        nonce, data = whole[:_NONCE_BYTES], whole[_NONCE_BYTES:]
        for key in self._keys if len(data) >= _TAG_BYTES else ():
            try:
                return key.decrypt(nonce, data, _CONTEXT)
            except self._invalid:
                continue
        raise InvalidRequest(
            "the session token was changed, or encrypted with a key that this server does not have (--session-key); "
            "send the token of the last response unchanged, to a server with the same key"
        )


def _spelled(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")


def read_keys(path: Path) -> list[bytes]:
    """Read the keys of a file: the first encrypts, all decrypt.

    Raises StartError if it cannot be read, any user of the machine may read or write it, or it does not hold keys.
    """
    option, most = f"--session-key {path}", _KEY_BYTES * _MAX_KEYS
    how = f"head -c {_KEY_BYTES} /dev/urandom creates one"
    expected = f"expected up to {_MAX_KEYS} keys of {_KEY_BYTES} random bytes each ({how})"
    try:
        data = read_guarded(path, most, is_secret=True)
    except FileTooLarge as error:
        raise StartError(f"{option}: has more than {most} bytes; {expected}") from error
    except OpenToAll as error:
        raise StartError(f"{option}: {error.strerror}") from error
    except OSError as error:
        raise StartError(f"{option}: cannot be read ({error.strerror})") from error
    if not data or len(data) % _KEY_BYTES:
        raise StartError(f"{option}: has {len(data)} bytes; {expected}")
    keys = [data[at : at + _KEY_BYTES] for at in range(0, len(data), _KEY_BYTES)]
    if any(key.isascii() for key in keys):
        raise StartError(f"{option}: is text; expected keys of {_KEY_BYTES} random bytes each ({how})")
    return keys


class _Sealed(NamedTuple):
    """The content of a token."""

    model: str
    digest: str  # `self_sha256` of the manifest of the version that made the states
    steps: int  # of the session so far
    issued: float  # seconds since the epoch
    rows: int  # size of the states' batch axis
    states: bytes  # one after another

    @classmethod
    def read(cls, data: bytes) -> "_Sealed":
        digest, steps, issued, rows, size = _HEAD.unpack_from(data)
        end = _HEAD.size + size
        return cls(data[_HEAD.size : end].decode(), digest.hex(), steps, issued, rows, data[end:])


class SealedStates:
    """Decrypts the tokens of requests, and encrypts new tokens for responses. Any thread may use it."""

    def __init__(self, settings: Settings, key_file: Path) -> None:
        """Read the keys from a file, or raise StartError if they are invalid."""
        self._sealing = TokenSealing(read_keys(key_file), _HEAD.size + _MAX_NAME + _MAX_STATE_BYTES)
        self._max_age = settings.session_age
        self._allow_non_finite = settings.allow_non_finite

    def find(self, request: pb.ModelInferRequest, repository: Repository) -> tuple[ServedVersion, _Sealed | None]:
        """Find the requested version, and decrypt the token, if any. Raises InvalidRequest or SessionEnded."""
        token = request.parameters[SESSION].string_param
        if not token:
            raise InvalidRequest(
                f'parameter {SESSION} must be text (string_param): send "{SESSION_BEGIN}", or the token of the last '
                "response"
            )
        if token == SESSION_BEGIN:
            return repository.find(request.model_name, request.model_version), None
        sealed = _Sealed.read(self._sealing.open(token))
        if sealed.model != request.model_name:
            raise InvalidRequest(
                f"the session token belongs to model {quoted(sealed.model)}, but the request is for "
                f"{quoted(request.model_name)}"
            )
        age = time.time() - sealed.issued
        if age > self._max_age:
            raise SessionEnded(
                f"the session token is {age:,.0f} s old, but tokens expire after {self._max_age:,.0f} s; begin a new "
                "session"
            )
        if not age >= -_CLOCK_SKEW:  # also false for NaN
            raise SessionEnded(
                f"the session token is from {-age:,.0f} s in the future by this server's clock; at most "
                f"{_CLOCK_SKEW:,.0f} s are allowed. A server's clock is or was wrong. Begin a new session"
            )
        served = repository.with_digest(sealed.model, sealed.digest)
        if served is None:
            raise SessionEnded(
                f'this server does not serve the version of model "{sealed.model}" on which the session began; begin '
                "a new session"
            )
        if request.model_version and repository.find(sealed.model, request.model_version) is not served:
            raise InvalidRequest(
                f"the session began on version {served.model.version}; the request names version "
                f"{quoted(request.model_version)}; leave the version out"
            )
        return served, sealed

    def continue_from(self, sealed: _Sealed | None, checked: CheckedRequest, model: Model) -> CheckedRequest:
        """Add a token's states to the request, and arrange for a new token, or raise InvalidRequest."""
        signature = model.signature
        _refuse_uncontinuable(model)
        _refuse_large_states(signature, checked.batch)
        inputs, before = checked.inputs, 0
        if sealed is not None:
            sent = next((name for name in signature.states if name in inputs), None)
            if sent is not None:
                raise InvalidRequest(f'input "{sent}" is part of the session token; leave it out')
            if sealed.rows != checked.batch:
                raise InvalidRequest(
                    f"the session has {_rows(sealed.rows)}, but the request has {_rows(checked.batch)}; send the same "
                    "rows in the same order"
                )
            inputs, before = {**inputs, **self._states(sealed, signature)}, sealed.steps
        unasked = [final.name for final in signature.states.values() if final.name not in checked.outputs]
        steps = before + signature.steps_of(checked.sizes)
        return dataclasses.replace(
            checked,
            inputs=inputs,
            outputs=(*checked.outputs, *unasked),
            unasked=len(unasked),
            keeper=functools.partial(self._seal, model, checked.batch, steps),
        )

    def _seal(self, model: Model, rows: int, steps: int, outputs: Mapping[str, Array]) -> pb.ModelInferResponse:
        """Encrypt a run's final states, and return a response with only the session's parameters."""
        name, digest = model.name.encode(), bytes.fromhex(model.manifest.self_sha256)
        head = _HEAD.pack(digest, steps, time.time(), rows, len(name))
        states = [outputs[final.name].tobytes() for final in model.signature.states.values()]
        response = pb.ModelInferResponse()
        response.parameters[SESSION].string_param = self._sealing.seal(b"".join((head, name, *states)))
        response.parameters[SESSION_STEPS].int64_param = steps
        return response

    def _states(self, sealed: _Sealed, signature: Signature) -> dict[str, Array]:
        states: dict[str, Array] = {}
        at = 0
        for name in signature.states:
            spec = signature.inputs[name]
            array: Array = np.ndarray(spec.shape(sealed.rows, {}), spec.dtype, sealed.states, at)
            states[name] = with_valid_values(array, spec, {}, allow_non_finite=self._allow_non_finite)
            at += array.nbytes
        return states


def _refuse_uncontinuable(model: Model) -> None:
    signature = model.signature
    if not signature.states:
        raise InvalidRequest(f'model "{model.name}" has no states, so it has no sessions: {model.why_not_in_parts}')
    if not model.continues:
        raise InvalidRequest(
            f'model "{model.name}" has no sessions, because clients cannot send its sequences in parts: '
            f"{model.why_not_in_parts}"
        )
    if required := signature.required_state:
        raise InvalidRequest(
            f'model "{model.name}" has no sealed sessions, because every request must send its state "{required}"'
        )


def _refuse_large_states(signature: Signature, rows: int) -> None:
    size = sum(math.prod(final.shape(rows, {})) * final.dtype.itemsize for final in signature.states.values())
    if size > _MAX_STATE_BYTES:
        raise InvalidRequest(
            f"the states of {_rows(rows)} take {size:,} bytes, but a session token holds at most "
            f"{_MAX_STATE_BYTES:,}; use fewer rows (the batch axis) per session"
        )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
