"""Sessions whose states travel with the client, sealed: it can neither read nor change them.

A request with the parameter `session` = "sealed" begins a session; the response's parameter `session` is a token, which
the next request sends as its own. A token holds the final states, the number of steps so far, the version that made
them, and the time. The server keeps nothing, so a session goes on at any server that has the key. For the same reason
an old token may be sent again: the session goes on from there, once more.
"""

import dataclasses
import math
import struct
import time
from collections.abc import Mapping

import numpy as np

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import SESSION, SESSION_BEGIN, SESSION_STEPS
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import Signature
from rnnserve.server.boundary.values import with_valid_values
from rnnserve.server.errors import InvalidRequest, SessionEnded, quoted
from rnnserve.server.protocol.token_sealing import TokenSealing, read_keys
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import Repository, ServedVersion
from rnnserve.server.settings import Settings

__all__ = ["NO_KEY", "SealedStates", "open_sealed_states"]

NO_KEY = (
    f"parameter {SESSION}: this server has no key for sealed sessions (--session-key); ask for the final states, such "
    "as h_n, and send them on as the initial ones, such as h_0"
)
"""Why a request of a session is refused where there is no key."""

_MAX_STATE_BYTES = 1 << 20
"""Bytes of the states in a token of a sealed session, which take 2.4 ms to seal; one row with hidden 128 has 512.
Beyond it: INVALID_ARGUMENT."""

_HEAD = struct.Struct("<32sQdIH")
"""The version's digest, steps so far, seconds since the epoch, rows, bytes of the model's name. The name follows, then
the states in the order of the model's outputs, little-endian."""

_MAX_NAME = (1 << 16) - 1

_CLOCK_SKEW = 300.0
"""Seconds by which the clocks of two servers may differ, as in Kerberos (RFC 4120, 8.2). A token from further in the
future would outlive its age by as much."""


@dataclasses.dataclass(frozen=True)
class _Sealed:
    """What a token holds.

    Attributes:
        model: Name of the model.
        digest: `self_sha256` of the manifest of the version that made the states, in bytes.
        steps: Steps of the session so far.
        issued: When it was sealed, in seconds since the epoch.
        rows: Size of the states' batch axis.
        states: The states' bytes, one after another.
    """

    model: str
    digest: bytes
    steps: int
    issued: float
    rows: int
    states: bytes

    def write(self) -> bytes:
        """Write it as bytes."""
        name = self.model.encode()
        return _HEAD.pack(self.digest, self.steps, self.issued, self.rows, len(name)) + name + self.states

    @classmethod
    def read(cls, data: bytes) -> "_Sealed":
        """Read the bytes that `write` gave."""
        digest, steps, issued, rows, size = _HEAD.unpack_from(data)
        end = _HEAD.size + size
        return cls(data[_HEAD.size : end].decode(), digest, steps, issued, rows, data[end:])


@dataclasses.dataclass(frozen=True)
class _Keeper:
    """Seals the final states of one request."""

    sealing: TokenSealing
    model: Model
    rows: int
    steps: int

    def keep(self, outputs: Mapping[str, Array]) -> Mapping[str, str | int]:
        """Seal the final states of a run, and give the response's parameters."""
        states = b"".join([outputs[final.name].tobytes() for final in self.model.signature.states.values()])
        digest = bytes.fromhex(self.model.manifest.self_sha256)
        sealed = _Sealed(self.model.name, digest, self.steps, time.time(), self.rows, states)
        return {SESSION: self.sealing.seal(sealed.write()), SESSION_STEPS: self.steps}


class SealedStates:
    """Reads the tokens of requests, and has responses written with new ones. Any thread may use it."""

    def __init__(self, keys: list[bytes], max_age: float, *, allow_non_finite: bool = False) -> None:
        """Take keys into use.

        Args:
            keys: 32 bytes each: the first seals, all open.
            max_age: Seconds after which a token is too old.
            allow_non_finite: Whether states with NaN and infinity are taken back.

        Raises:
            StartError: If what seals is missing.
        """
        self._sealing = TokenSealing(keys, _HEAD.size + _MAX_NAME + _MAX_STATE_BYTES)
        self._max_age = max_age
        self._allow_non_finite = allow_non_finite

    def find(self, request: pb.ModelInferRequest, repository: Repository) -> tuple[ServedVersion, _Sealed | None]:
        """Find the version that a request of a session asks: for a token, the one that made its states.

        Returns:
            The version, and what the token holds; None where the request begins a session.

        Raises:
            InvalidRequest: If the token is altered, foreign, too large, or of another model or version.
            NotFound: If the repository does not have the model or version.
            NotReady: If that model does not serve.
            SessionEnded: If the token is too old, or from the future, or its version no longer serves.
        """
        token = request.parameters[SESSION].string_param
        if not token:
            raise InvalidRequest(
                f'parameter {SESSION} is no text: send "{SESSION_BEGIN}", or the token of the last response'
            )
        if token == SESSION_BEGIN:
            return repository.find(request.model_name, request.model_version), None
        sealed = _Sealed.read(self._sealing.open(token))
        if sealed.model != request.model_name:
            raise InvalidRequest(
                f"the session's token is of model {quoted(sealed.model)}; the request asks {quoted(request.model_name)}"
            )
        age = time.time() - sealed.issued
        if age > self._max_age:
            raise SessionEnded(
                f"the session's token is {age:,.0f} s old; {self._max_age:,.0f} s is the limit: begin a new session"
            )
        if not age >= -_CLOCK_SKEW:  # nor where it is nan
            raise SessionEnded(
                f"the session's token was sealed {-age:,.0f} s in the future of this server's clock; "
                f"{_CLOCK_SKEW:,.0f} s is the limit: one of the servers' clocks is wrong, or was; begin a new session"
            )
        served = repository.with_digest(sealed.model, sealed.digest.hex())
        if served is None:
            raise SessionEnded(
                f'the version of model "{sealed.model}" on which the session began does not serve here: begin a new '
                "session"
            )
        if request.model_version and repository.find(sealed.model, request.model_version) is not served:
            raise InvalidRequest(
                f"the session began on version {served.model.version}; the request asks for version "
                f"{quoted(request.model_version)}: leave it out"
            )
        return served, sealed

    def continue_from(self, sealed: _Sealed | None, checked: CheckedRequest, model: Model) -> CheckedRequest:
        """Give a request the states of its token, and have its final states sealed.

        Args:
            sealed: Content of the token; None where the request begins a session.
            checked: The request, with the states that it sends itself.
            model: The model that runs it.

        Raises:
            InvalidRequest: If the model cannot be continued, or the states do not fit the request.
        """
        signature = model.signature
        _refuse_uncontinuable(model)
        _refuse_large_states(signature, checked.batch)
        inputs, before = checked.inputs, 0
        if sealed is not None:
            sent = next((name for name in signature.states if name in inputs), None)
            if sent is not None:
                raise InvalidRequest(f'input "{sent}" comes in the session\'s token: leave it out')
            if sealed.rows != checked.batch:
                raise InvalidRequest(
                    f"the session has {_rows(sealed.rows)}, the request {_rows(checked.batch)}: send the same rows, in "
                    "their order"
                )
            inputs, before = {**inputs, **self._states(sealed, signature)}, sealed.steps
        unasked = [final.name for final in signature.states.values() if final.name not in checked.outputs]
        steps = before + signature.steps_of(checked.sizes)
        return dataclasses.replace(
            checked,
            inputs=inputs,
            outputs=(*checked.outputs, *unasked),
            unasked=len(unasked),
            keeper=_Keeper(self._sealing, model, checked.batch, steps),
        )

    def _states(self, sealed: _Sealed, signature: Signature) -> dict[str, Array]:
        """Give the initial states by name."""
        states: dict[str, Array] = {}
        at = 0
        for name in signature.states:
            spec = signature.inputs[name]
            array: Array = np.ndarray(spec.shape(sealed.rows, {}), spec.dtype, sealed.states, at)
            states[name] = with_valid_values(array, spec, {}, allow_non_finite=self._allow_non_finite)
            at += array.nbytes
        return states


def open_sealed_states(settings: Settings) -> SealedStates | None:
    """Make what seals the states; None where the settings name no key.

    Raises:
        StartError: If the key cannot be used.
    """
    if settings.session_key is None:
        return None
    keys = read_keys(settings.session_key)
    return SealedStates(keys, settings.session_age, allow_non_finite=settings.allow_non_finite)


def _refuse_uncontinuable(model: Model) -> None:
    signature = model.signature
    if not signature.states:
        raise InvalidRequest(
            f'model "{model.name}" has no states, so that it has no sessions: {model.why_not_in_parts}'
        )
    if not model.continues:
        raise InvalidRequest(
            f'model "{model.name}" has no sessions: its sequences may not be sent a part at a time, since '
            f"{model.why_not_in_parts}"
        )
    required = next((name for name in signature.states if not signature.inputs[name].optional), None)
    if required is not None:
        raise InvalidRequest(f'model "{model.name}" has no sealed sessions: its state "{required}" must be sent')


def _refuse_large_states(signature: Signature, rows: int) -> None:
    size = sum(math.prod(final.shape(rows, {})) * final.dtype.itemsize for final in signature.states.values())
    if size > _MAX_STATE_BYTES:
        raise InvalidRequest(
            f"the states of {_rows(rows)} have {size:,} bytes, more than the {_MAX_STATE_BYTES:,} that a session's "
            "token holds: send fewer rows (the batch axis) a session"
        )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
