"""The gate: whether a call may be answered, by its token or certificate and the method that it has matched."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnserve.protos.access_table import METHODS, ROUTES, Need
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL
from rnnserve.server.access.access_file import (
    CLIENT_ROLES,
    TOKENS,
    AccessFileError,
    AccessRow,
    Credentials,
    read_content,
    read_rows,
)
from rnnserve.server.errors import PermissionDenied, StartError, Unauthenticated
from rnnserve.server.settings import Settings

__all__ = ["Gate", "Grant", "open_gate"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
"""Seconds between two looks at the file: a token that is taken out of it is refused that much later at most."""

_MOST_KNOWN = 4096
"""Tokens and certificates, as calls bring them, that are found without a digest."""


class Grant:
    """What a token or certificate admits to. Calls that last ask it again, since the file may change. Thread-safe.

    `token` is None after its row was removed from the file. The fast path needs no look at a model if the grant
    `is_for_all`, and none at a clock if it `infers_at_once`; it counts the `requests` that it has let in.
    """

    __slots__ = ("_clock", "_lasting", "infers_at_once", "is_for_all", "refusal", "requests", "token")

    def __init__(self, token: AccessRow, clock: Callable[[], float], refusal: type[Unauthenticated]) -> None:
        self.token: AccessRow | None
        self.set(token)
        self.requests = 0
        self._clock = clock
        self.refusal = refusal

    def set(self, token: AccessRow | None) -> None:
        """Replace its row; None if the file has none any more."""
        self.token = token
        self.is_for_all = token is not None and token.models is None
        # Valid without a look at a clock.
        self._lasting = token if token is not None and token.not_after is None else None
        self.infers_at_once = self._lasting is not None and self._lasting.role in Need.INFER.roles

    def valid_token(self) -> AccessRow:
        """Return its row, or raise Unauthenticated if the row was removed or has expired."""
        token = self._valid()
        if token is None:
            raise self.refusal
        return token

    def check(self, need: Need) -> None:
        """Raise PermissionDenied if it has no role that is needed, and Unauthenticated if it is no longer valid."""
        if (self._lasting or self.valid_token()).role not in need.roles:
            raise PermissionDenied.of_role(need.roles)

    def check_model(self, name: str) -> None:
        """Raise PermissionDenied if it is not for a model, whether or not there is one of that name."""
        if not self.valid_token().is_for(name):
            raise PermissionDenied.of_model()

    def admits(self, need: Need) -> bool:
        """Tell whether it is valid, and has a role that is needed."""
        token = self._valid()
        return token is not None and token.role in need.roles

    def is_for(self, name: str) -> bool:
        """Tell whether it is valid, and for a model."""
        token = self._valid()
        return token is not None and token.is_for(name)

    def _valid(self) -> AccessRow | None:
        token = self.token
        if token is None or (token.not_after is not None and token.not_after <= self._clock()):
            return None
        return token


def _no_certificate() -> str:
    return ""


class Gate:
    """Decides by a file, which it reads again when it changes. Thread-safe.

    Metadata are entries of a key and a value; `certificate` returns the client's certificate, in PEM or DER in base64,
    or an empty text. `known` has the grants that were found, by what calls brought; each change of the file replaces
    it.
    """

    def __init__(
        self,
        path: Path,
        *,
        credentials: Credentials = TOKENS,
        on_reload: Callable[[bool], None] = lambda _: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the file, or raise AccessFileError; `on_reload` is told after a change whether it was accepted."""
        self.shown = credentials.shown  # what a call brings, as it comes (`Credentials.shown`)
        self.known: dict[str, Grant] = {}
        self._credentials = credentials
        self._path = path
        self._on_reload = on_reload
        self._clock = wall_clock
        self._grants: dict[bytes | str, Grant] = {}
        self._content: bytes | None = read_content(path, credentials)
        self._use(read_rows(self._content, path, credentials))
        self._looking = threading.Lock()
        self._look_at = 0.0
        self._mistake = ""  # in the file as it is now

    def admit(
        self, method: str, metadata: Iterable[Any], certificate: Callable[[], str] = _no_certificate
    ) -> Grant | None:
        """Let a call in by the full name of its method, as `admit_to` does."""
        return self.admit_to(METHODS.get(method, Need.NONE_MAY), metadata, certificate)

    def admit_to(
        self, need: Need, metadata: Iterable[Any], certificate: Callable[[], str] = _no_certificate
    ) -> Grant | None:
        """Return what a caller may do, or None if nothing is needed; raise as `grant_with` does."""
        if need in (Need.INSIDE, Need.OPEN, Need.HEALTH):
            return None
        return self.grant_with(need, metadata, certificate)

    def admit_route(self, metadata: Iterable[Any], certificate: Callable[[], str] = _no_certificate) -> None:
        """Check the route, and its model, that the HTTP gateway asks about in the metadata, if it does."""
        entries = {entry[0]: entry[1] for entry in metadata if entry[0] in (ROUTE, ROUTE_MODEL)}
        if ROUTE in entries:
            grant = self.admit_to(ROUTES.get(entries[ROUTE], Need.NONE_MAY), metadata, certificate)
            if grant is not None and ROUTE_MODEL in entries:
                grant.check_model(entries[ROUTE_MODEL])

    def grant_with(
        self, need: Need, metadata: Iterable[Any], certificate: Callable[[], str] = _no_certificate
    ) -> Grant:
        """Return what the caller may do. Raise PermissionDenied for another role, Unauthenticated for nothing valid."""
        shown = self.shown(metadata, certificate)
        grant = self.known.get(shown) or self._found(shown)
        grant.check(need)
        return grant

    def grants(self) -> Iterator[tuple[str, Grant]]:
        """The names of the rows, each with what its holder may do."""
        for grant in list(self._grants.values()):
            if grant.token is not None:
                yield grant.token.name, grant

    def look(self, at: float) -> bool:
        """Read the file again if it is time to, and return whether it was: then tokens may have ended. Called often."""
        with self._looking:
            if at < self._look_at:
                return False
            self._look_at = at + _LOOK_SECONDS
            try:
                self._read_again()
            except AccessFileError as error:
                self._content = None  # so that the same content as before counts as a change that holds
                if str(error) != self._mistake:
                    self._mistake = str(error)
                    _log.error("%s; still using the previous content", error)
                    self._on_reload(False)
            return True

    def _found(self, shown: str) -> Grant:
        """Look up what is shown, and keep what is found: a digest takes longer than all else here."""
        known, grants = self.known, self._grants
        found = [grants[key] for key in self._credentials.keys(shown) if key in grants]
        if not found:
            raise self._credentials.refusal
        # Of several names in a certificate, the one whose row stands first: that does not depend on its issuer.
        grant = found[0] if len(found) == 1 else next(each for each in grants.values() if each in found)
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[shown] = grant
        return grant

    def _read_again(self) -> None:
        content = read_content(self._path, self._credentials)
        if content == self._content:
            return
        rows = read_rows(content, self._path, self._credentials)
        self._content, self._mistake = content, ""
        self._use(rows)
        _log.info("%s %s has changed: %d rows", self._credentials.title, self._path, len(rows))
        self._on_reload(True)

    def _use(self, rows: Mapping[bytes | str, AccessRow]) -> None:
        """Replace the rows. Grants that calls have stay, and follow their rows."""
        before, grants = self._grants, dict[bytes | str, Grant]()
        for key, row in rows.items():
            grant = before.get(key) or Grant(row, self._clock, self._credentials.refusal)
            grant.set(row)
            grants[key] = grant
        self._grants, self.known = grants, {}
        for key, grant in before.items():
            if key not in grants:
                grant.set(None)


def open_gate(settings: Settings, on_reload: Callable[[bool], None] = lambda _: None) -> Gate | None:
    """Make the gate of a server, None if it asks for no credentials. Raise StartError if its file cannot be used."""
    path = settings.access_file
    if path is None:
        return None
    credentials = TOKENS if settings.client_roles is None else CLIENT_ROLES
    try:
        return Gate(path, credentials=credentials, on_reload=on_reload)
    except AccessFileError as error:
        raise StartError(str(error)) from error
