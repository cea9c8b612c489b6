"""The gate: whether a call may be answered, by the token that it brings and the method that it has matched."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rnnserve.protos.access_table import METHODS, ROUTES, Need
from rnnserve.protos.protocol_words import AUTHORIZATION, ROUTE, ROUTE_MODEL
from rnnserve.server.access.refusals import PermissionDenied, Unauthenticated
from rnnserve.server.access.tokens_file import Token, TokensError, read_content, read_tokens
from rnnserve.server.access.usage import Usage
from rnnserve.server.errors import StartError

__all__ = ["Gate", "Grant", "open_gate"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
"""Seconds between two looks at the file: a token that is taken out of it is refused that much later at most."""

_SETTLED_SECONDS = 2.0
"""Seconds for which a file that has changed is read again at each look: within one tick of the kernel's clock it may
have changed twice, and look the same."""

_SCHEME = "bearer "

_MOST_KNOWN = 4096

_Stamp = tuple[int, int, int, int, int]


class Grant:
    """What a token admits to, now: it is asked again, since the file may say something else by then. Any thread may.

    Attributes:
        token: What the file says of it; None where that has it no more.
        usage: What its requests take.
    """

    __slots__ = ("_clock", "token", "usage")

    def __init__(self, token: Token, clock: Callable[[], float], usage: Usage | None = None) -> None:
        self.token: Token | None = token
        self.usage = usage or Usage(token.limits)
        self._clock = clock

    def valid_token(self) -> Token:
        """Give what the file says of it.

        Raises:
            Unauthenticated: If it is no more, or has expired.
        """
        token = self.token
        if token is None or (token.not_after is not None and token.not_after <= self._clock()):
            raise Unauthenticated
        return token

    def check(self, need: Need) -> Token:
        """Check that it has a role that is needed, and give what the file says of it.

        Raises:
            PermissionDenied: If it does not.
            Unauthenticated: If it is no more, or has expired.
        """
        token = self.valid_token()
        if need.value is None or token.role not in need.value:
            raise PermissionDenied
        return token

    def check_model(self, name: str) -> None:
        """Check that it is for a model, whether or not there is one of that name.

        Raises:
            PermissionDenied: If it is not.
            Unauthenticated: If it is no more, or has expired.
        """
        models = self.valid_token().models
        if models is not None and name not in models:
            raise PermissionDenied

    def admits(self, need: Need) -> bool:
        """Tell whether `check` would raise nothing."""
        try:
            self.check(need)
        except (PermissionDenied, Unauthenticated):
            return False
        return True

    def is_for(self, name: str) -> bool:
        """Tell whether `check_model` would raise nothing."""
        try:
            self.check_model(name)
        except (PermissionDenied, Unauthenticated):
            return False
        return True


class Gate:
    """Decides by the tokens of a file, which is read again where it changes. Any thread may ask it.

    Attributes:
        closed_health: Whether health needs a token, too.
    """

    def __init__(
        self,
        path: Path,
        *,
        closed_health: bool = False,
        on_reload: Callable[[bool], None] = lambda _: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the file.

        Args:
            path: Path of the file.
            closed_health: Value of the attribute of the same name.
            on_reload: Function that is told, after the file has changed, whether what it says now holds.
            wall_clock: Clock, in seconds since the epoch.

        Raises:
            TokensError: If it cannot be used.
        """
        self.closed_health = closed_health
        self._path = path
        self._on_reload = on_reload
        self._clock = wall_clock
        self._stamp = self._stamp_of_file()
        self._read_at = wall_clock()
        self._content: bytes | None = read_content(path)
        self._grants: dict[bytes, Grant] = {}
        self._known: dict[object, Grant] = {}  # by the header, as it comes
        self._use(read_tokens(self._content, path))
        self._look_at = 0.0
        self._told = ""  # what is wrong with the file now

    def admit(self, method: str, metadata: Iterable[Any]) -> Grant | None:
        """Let a call of a method in, or refuse it.

        Args:
            method: Full name of the method.
            metadata: Metadata of the call, each entry a key and a value.

        Returns:
            What its token admits to; None where the method needs none.

        Raises:
            PermissionDenied: If its token does not admit to it.
            Unauthenticated: If it brings no token that is valid.
        """
        return self.admit_to(METHODS.get(method, Need.NONE_MAY), metadata)

    def admit_to(self, need: Need, metadata: Iterable[Any]) -> Grant | None:
        """Let what needs this in, or refuse it, as `admit` does."""
        if need is Need.INSIDE or (need is Need.HEALTH and not self.closed_health):
            return None
        grant = self.grant_of(metadata)
        grant.check(need)
        return grant

    def admit_route(self, metadata: Iterable[Any]) -> None:
        """Check the route, and its model, that a front asks about in the metadata, where it does.

        Raises:
            PermissionDenied: If the token does not admit to it.
            Unauthenticated: If there is no valid token, and the route needs one.
        """
        said = {entry[0]: entry[1] for entry in metadata if entry[0] in (ROUTE, ROUTE_MODEL)}
        if ROUTE in said:
            grant = self.admit_to(ROUTES.get(said[ROUTE], Need.NONE_MAY), metadata)
            if grant is not None and ROUTE_MODEL in said:
                grant.check_model(said[ROUTE_MODEL])

    def grant_of(self, metadata: Iterable[Any]) -> Grant:
        """Give what the token admits to that a call brings.

        Raises:
            Unauthenticated: If it brings none that is valid.
        """
        value = None
        for key, said in metadata:
            if key == AUTHORIZATION:
                if value is not None:
                    raise Unauthenticated
                value = said
        grant = self._known.get(value)
        if grant is None:
            grant = self._found(value)
        grant.valid_token()
        return grant

    def _found(self, value: object) -> Grant:
        """Look up the token of a header, and keep what is found: its digest takes longer than all else here.

        Raises:
            Unauthenticated: If it is in no such form, or not known.
        """
        if not isinstance(value, str) or value[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated
        known = self._known
        grant = self._grants.get(hashlib.sha256(value[len(_SCHEME) :].encode(errors="replace")).digest())
        if grant is None:
            raise Unauthenticated
        if len(known) < _MOST_KNOWN:
            known[value] = grant
        return grant

    def grants(self) -> Iterator[tuple[str, Usage]]:
        """The names of the tokens, each with what its requests take."""
        for grant in list(self._grants.values()):
            if grant.token is not None:
                yield grant.token.name, grant.usage

    def look(self, at: float) -> bool:
        """Read the file again where it has changed. To be called again and again, by one thread.

        Args:
            at: Time in seconds, on a clock that does not go back.

        Returns:
            Whether it was time to look: then tokens may have ended, by the file or by their time.
        """
        if at < self._look_at:
            return False
        self._look_at = at + _LOOK_SECONDS
        self._read_again()
        return True

    def _read_again(self) -> None:
        try:
            stamp = self._stamp_of_file()
            if stamp == self._stamp and self._read_at - stamp[0] / 1e9 > _SETTLED_SECONDS:
                return
            self._stamp, self._read_at = stamp, self._clock()
            content = read_content(self._path)
            if content == self._content:
                return
            tokens = read_tokens(content, self._path)
        except TokensError as error:
            self._keep(error)
            return
        self._content = content
        self._told = ""
        self._use(tokens)
        _log.info("the file of tokens %s has changed: %d tokens", self._path, len(tokens))
        self._on_reload(True)

    def _keep(self, error: TokensError) -> None:
        """Go on with the tokens that there were, and say so: once of each mistake."""
        self._content = None  # so that the same content as before counts as a change that holds
        if str(error) != self._told:
            self._told = str(error)
            _log.error("%s: the tokens that it had before hold on", error)
            self._on_reload(False)

    def _use(self, tokens: dict[bytes, Token]) -> None:
        """Let these tokens hold, and no others. A grant that calls have stays, and says from now on what holds."""
        before = self._grants
        usages = {grant.token.name: grant.usage for grant in before.values() if grant.token is not None}
        grants: dict[bytes, Grant] = {}
        for digest, token in tokens.items():
            grant = before.get(digest)
            if grant is None:
                grant = Grant(token, self._clock, usages.get(token.name))
            grant.usage.limit(token.limits)
            grant.token = token
            grants[digest] = grant
        self._grants, self._known = grants, {}
        for digest, grant in before.items():
            if digest not in grants:
                grant.token = None

    def _stamp_of_file(self) -> _Stamp:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - the same, and read by more
        except OSError as error:
            raise TokensError(f"the file of tokens {self._path} cannot be read: {error.strerror or error}") from error
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


def open_gate(
    path: Path | None, *, closed_health: bool = False, on_reload: Callable[[bool], None] = lambda _: None
) -> Gate | None:
    """Make the gate of a server; None where it asks for no tokens.

    Args:
        path: Path of the file of tokens; None where none are asked for.
        closed_health: Whether health needs a token, too.
        on_reload: Function that is told, after the file has changed, whether what it says now holds.

    Raises:
        StartError: If the file cannot be used.
    """
    if path is None:
        return None
    try:
        return Gate(path, closed_health=closed_health, on_reload=on_reload)
    except TokensError as error:
        raise StartError(str(error)) from error
