"""The gate: whether a call may be answered, by its token or certificate and the method that it has matched."""

import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnserve.protos.access_table import METHODS, ROUTES, Need
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL
from rnnserve.server.access.access_file import AccessFileError, AccessRow, read_content, read_rows
from rnnserve.server.access.credentials import BearerTokens, ClientCertificates, Credentials, no_certificate
from rnnserve.server.access.failures import FailedAttempts
from rnnserve.server.access.grant import Grant
from rnnserve.server.access.refusals import TooManyAttempts, Unauthenticated
from rnnserve.server.access.shared_usage import SharedNumbers, used_usage_memory
from rnnserve.server.access.usage import Usage
from rnnserve.server.errors import ServeError, StartError
from rnnserve.server.settings.access import AccessSettings

__all__ = ["Gate", "open_gate"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
"""Seconds between two looks at the file: a token that is taken out of it is refused that much later at most."""

_SETTLED_SECONDS = 2.0
"""Seconds for which a file that has changed is read again at each look: within one tick of the kernel's clock it may
have changed twice, and look the same."""

_MOST_KNOWN = 4096
"""Tokens and certificates, as calls bring them, that are found without a digest."""

_MOST_WRONG = 32

_Stamp = tuple[int, int, int, int, int]


class Gate:
    """Decides by what a file says, which is read again where it changes. Any thread may ask it.

    Attributes:
        closed_health: Whether health needs a token, too.
        credentials: By what callers are known.
        shown: What a call brings, as it comes (`Credentials.shown`).
        at_once: What callers may do, by that, whose token does not end, has no limits, and is of a role that the
            lane's method needs: the lane looks here first, and adds what it has let in otherwise. It is
            another one after each change of the file: what was found before goes into the one before.
    """

    def __init__(
        self,
        path: Path,
        *,
        credentials: Credentials | None = None,
        closed_health: bool = False,
        max_wrong_tokens: int = _MOST_WRONG,
        on_reload: Callable[[bool], None] = lambda _: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the file.

        Args:
            path: Path of the file.
            credentials: Value of the attribute of the same name; None for tokens.
            closed_health: Value of the attribute of the same name.
            max_wrong_tokens: Wrong tokens of one address, after which further ones are told to wait.
            on_reload: Function that is told, after the file has changed, whether what it says now holds.
            wall_clock: Clock, in seconds since the epoch.

        Raises:
            AccessFileError: If it cannot be used.
        """
        self.closed_health = closed_health
        self.credentials = credentials or BearerTokens()
        self.shown = self.credentials.shown
        self._failures = FailedAttempts(max_wrong_tokens)
        self._path = path
        self._on_reload = on_reload
        self._clock = wall_clock
        self._stamp = self._stamp_of_file()
        self._read_at = wall_clock()
        self._content: bytes | None = read_content(path, self.credentials.kind)
        self._grants: dict[bytes | str, Grant] = {}
        self._known: dict[str, Grant] = {}  # by what calls bring, as it comes
        self.at_once: dict[str, Grant] = {}
        self._use(read_rows(self._content, path, self.credentials.kind))
        self._look_at = 0.0
        self._told = ""  # what is wrong with the file now

    def admit(
        self, method: str, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate
    ) -> Grant | None:
        """Let a call of a method in, or refuse it.

        Args:
            method: Full name of the method.
            metadata: Metadata of the call, each entry a key and a value.
            certificate: Function that gives the certificate that the client has shown; empty for none.

        Returns:
            What its caller may do; None where the method needs nothing.

        Raises:
            PermissionDenied: If its caller may not.
            Unauthenticated: If it brings nothing that is valid.
        """
        return self.admit_to(METHODS.get(method, Need.NONE_MAY), metadata, certificate)

    def admit_to(
        self, need: Need, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate
    ) -> Grant | None:
        """Let what needs this in, or refuse it, as `admit` does."""
        if need in (Need.INSIDE, Need.OPEN) or (need is Need.HEALTH and not self.closed_health):
            return None
        return self.grant_with(need, metadata, certificate)

    def admit_route(self, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate) -> None:
        """Check the route, and its model, that a front asks about in the metadata, where it does.

        Raises:
            PermissionDenied: If the caller may not ask for it.
            Unauthenticated: If nothing is brought that is valid, and the route needs that.
        """
        said = {entry[0]: entry[1] for entry in metadata if entry[0] in (ROUTE, ROUTE_MODEL)}
        if ROUTE in said:
            grant = self.admit_to(ROUTES.get(said[ROUTE], Need.NONE_MAY), metadata, certificate)
            if grant is not None and ROUTE_MODEL in said:
                grant.check_model(said[ROUTE_MODEL])

    def grant_of(self, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate) -> Grant:
        """Give what the caller may do.

        Args:
            metadata: Metadata of the call, each entry a key and a value.
            certificate: Function that gives the certificate that the client has shown; empty for none.

        Raises:
            Unauthenticated: If nothing is brought that is valid.
        """
        grant = self._grant_of(metadata, certificate)
        grant.valid_token()
        return grant

    def grant_with(self, need: Need, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate) -> Grant:
        """Give what the caller may do, where it has a role that is needed.

        Args:
            need: Need of the method, a role.
            metadata: Metadata of the call, each entry a key and a value.
            certificate: Function that gives the certificate that the client has shown; empty for none.

        Raises:
            PermissionDenied: If it has no such role.
            Unauthenticated: If nothing is brought that is valid.
        """
        grant = self._grant_of(metadata, certificate)
        grant.check(need)
        return grant

    def slowed(self, error: ServeError, peer: str) -> ServeError:
        """Give what a caller is told that is refused: to wait, where its address has sent many wrong tokens.

        To be asked once for each refusal, and for no call that was let in: those with a valid token are never slowed.

        Args:
            error: Reason for which it is refused.
            peer: Name of its connection.
        """
        if isinstance(error, Unauthenticated) and error.is_wrong:
            seconds = self._failures.note(peer)
            if seconds > 0.0:
                return TooManyAttempts(seconds)
        return error

    def _grant_of(self, metadata: Iterable[Any], certificate: Callable[[], str]) -> Grant:
        """Give what belongs to what the caller brings, whether it holds now or not."""
        shown = self.shown(metadata, certificate)
        grant = self._known.get(shown)
        return self._found(shown) if grant is None else grant

    def _found(self, shown: str) -> Grant:
        """Look up what is shown, and keep what is found: a digest takes longer than all else here.

        Raises:
            Unauthenticated: If it is in no such form, or not known.
        """
        known, grants = self._known, self._grants
        found = [grants[key] for key in self.credentials.keys(shown) if key in grants]
        if not found:
            raise self.credentials.refusal(is_wrong=bool(shown))
        # Of several names in a certificate, the one whose row stands first: that does not depend on its issuer.
        grant = found[0] if len(found) == 1 else next(each for each in grants.values() if each in found)
        if len(known) < _MOST_KNOWN:
            known[shown] = grant
        return grant

    def grants(self) -> Iterator[tuple[str, Grant]]:
        """The names of the rows, each with what its holder may do."""
        for grant in list(self._grants.values()):
            if grant.token is not None:
                yield grant.token.name, grant

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
            content = read_content(self._path, self.credentials.kind)
            if content == self._content:
                return
            tokens = read_rows(content, self._path, self.credentials.kind)
        except AccessFileError as error:
            self._keep(error)
            return
        self._content = content
        self._told = ""
        self._use(tokens)
        _log.info("%s %s has changed: %d rows", self.credentials.kind.title, self._path, len(tokens))
        self._on_reload(True)

    def _keep(self, error: AccessFileError) -> None:
        """Go on with the tokens that there were, and say so: once of each mistake."""
        self._content = None  # so that the same content as before counts as a change that holds
        if str(error) != self._told:
            self._told = str(error)
            _log.error("%s: what it said before holds on", error)
            self._on_reload(False)

    def _use(self, tokens: Mapping[bytes | str, AccessRow]) -> None:
        """Let these tokens hold, and no others. A grant that calls have stays, and says from now on what holds."""
        before = self._grants
        usages = {grant.token.name: grant.usage for grant in before.values() if grant.token is not None}
        grants: dict[bytes | str, Grant] = {}
        for key, token in tokens.items():
            grant = before.get(key)
            if grant is None:
                usage = usages.get(token.name) or Usage(token.limits, share=functools.partial(_numbers_of, token.name))
                grant = Grant(token, self._clock, usage, self.credentials.refusal)
            grant.usage.limit(token.limits)
            grant.set(token)
            grants[key] = grant
        self._grants, self._known = grants, {}
        for key, grant in before.items():
            if key not in grants:
                grant.set(None)
        self.at_once = {}

    def _stamp_of_file(self) -> _Stamp:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - the same, and read by more
        except OSError as error:
            title = self.credentials.kind.title
            raise AccessFileError(f"{title} {self._path} cannot be read: {error.strerror or error}") from error
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


def _numbers_of(name: str) -> SharedNumbers:
    """Give the numbers of a token that workers share; those of this process alone, where there is one."""
    memory = used_usage_memory()
    return (None if memory is None else memory.numbers_of(name)) or SharedNumbers.alone()


def open_gate(settings: AccessSettings, on_reload: Callable[[bool], None] = lambda _: None) -> Gate | None:
    """Make the gate of a server; None where it asks for neither tokens nor certificates.

    Args:
        settings: Settings of whose calls are answered.
        on_reload: Function that is told, after the file has changed, whether what it says now holds.

    Raises:
        StartError: If the file cannot be used.
    """
    path = settings.access_file
    if path is None:
        return None
    try:
        return Gate(
            path,
            credentials=BearerTokens() if settings.client_roles is None else ClientCertificates(),
            closed_health=settings.closed_health,
            max_wrong_tokens=settings.max_wrong_tokens,
            on_reload=on_reload,
        )
    except AccessFileError as error:
        raise StartError(str(error)) from error
