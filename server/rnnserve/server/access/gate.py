"""The gate decides whether a call is allowed, by its token or certificate and the called method."""

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
"""Seconds between checks of the file. A revoked token is refused after this time at the latest."""

_MOST_KNOWN = 4096
"""Maximum number of tokens and certificates cached as sent, so that known ones need no digest."""


class Grant:
    """The permissions of a token or certificate. Thread-safe.

    Long calls check their grant repeatedly, because the file may change. `token` is None once its row has been removed
    from the file. If the grant `is_for_all`, the fast path doesn't check the model. If it `infers_at_once`, the fast
    path doesn't check the clock. The fast path adds to `requests` for each request that it accepts.
    """

    __slots__ = ("_clock", "_lasting", "infers_at_once", "is_for_all", "refusal", "requests", "token")

    def __init__(self, token: AccessRow, clock: Callable[[], float], refusal: type[Unauthenticated]) -> None:
        self.token: AccessRow | None
        self.set(token)
        self.requests = 0
        self._clock = clock
        self.refusal = refusal

    def set(self, token: AccessRow | None) -> None:
        """Replace the row. None means that the file no longer has one."""
        self.token = token
        self.is_for_all = token is not None and token.models is None
        # A row without an expiry time is valid without checking the clock.
        self._lasting = token if token is not None and token.not_after is None else None
        self.infers_at_once = self._lasting is not None and self._lasting.role in Need.INFER.roles

    def valid_token(self) -> AccessRow:
        """Return the row, or raise Unauthenticated if it was removed or has expired."""
        token = self._valid()
        if token is None:
            raise self.refusal
        return token

    def check(self, need: Need) -> None:
        """Raise PermissionDenied if the role is insufficient, or Unauthenticated if the row is invalid by now."""
        if (self._lasting or self.valid_token()).role not in need.roles:
            raise PermissionDenied.of_role(need.roles)

    def check_model(self, name: str) -> None:
        """Raise PermissionDenied if the grant doesn't include this model name, whether or not the model exists."""
        if not self.valid_token().is_for(name):
            raise PermissionDenied.of_model()

    def admits(self, need: Need) -> bool:
        """Return whether the grant is valid and its role is sufficient."""
        token = self._valid()
        return token is not None and token.role in need.roles

    def is_for(self, name: str) -> bool:
        """Return whether the grant is valid and includes this model."""
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
    """Decides about calls by an access file, which it rereads when the file changes. Thread-safe.

    Metadata are pairs of a key and a value. `certificate` returns the client's certificate (PEM, or base64 DER), or an
    empty string. `known` caches the grants found so far by the credentials as sent. Each change of the file replaces
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
        """Read the file, or raise AccessFileError. `on_reload(accepted)` is called after each change of the file."""
        self.shown = credentials.shown  # reads the credentials of a call, unparsed (`Credentials.shown`)
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
        self._mistake = ""  # error in the current file (empty if there is none)

    def admit(
        self, method: str, metadata: Iterable[Any], certificate: Callable[[], str] = _no_certificate
    ) -> Grant | None:
        """Check a call by the full name of its method, as `admit_to` does."""
        return self.admit_to(METHODS.get(method, Need.NONE_MAY), metadata, certificate)

    def admit_to(
        self, need: Need, metadata: Iterable[Any], certificate: Callable[[], str] = _no_certificate
    ) -> Grant | None:
        """Return the caller's grant, or None if none is needed. Raise the errors of `grant_with`."""
        if need in (Need.INSIDE, Need.OPEN, Need.HEALTH):
            return None
        return self.grant_with(need, metadata, certificate)

    def admit_route(self, metadata: Iterable[Any], certificate: Callable[[], str] = _no_certificate) -> None:
        """Check the HTTP route and its model if the HTTP gateway has put them into the metadata."""
        entries = {entry[0]: entry[1] for entry in metadata if entry[0] in (ROUTE, ROUTE_MODEL)}
        if ROUTE in entries:
            grant = self.admit_to(ROUTES.get(entries[ROUTE], Need.NONE_MAY), metadata, certificate)
            if grant is not None and ROUTE_MODEL in entries:
                grant.check_model(entries[ROUTE_MODEL])

    def grant_with(
        self, need: Need, metadata: Iterable[Any], certificate: Callable[[], str] = _no_certificate
    ) -> Grant:
        """Return the caller's grant. Raise Unauthenticated (no valid credentials) or PermissionDenied (wrong role)."""
        shown = self.shown(metadata, certificate)
        grant = self.known.get(shown) or self._found(shown)
        grant.check(need)
        return grant

    def grants(self) -> Iterator[tuple[str, Grant]]:
        """Iterate over the names of the rows, each with its grant."""
        for grant in list(self._grants.values()):
            if grant.token is not None:
                yield grant.token.name, grant

    def look(self, at: float) -> bool:
        """Reread the file if the check is due, and return whether it was due: tokens may have expired. Called often."""
        with self._looking:
            if at < self._look_at:
                return False
            self._look_at = at + _LOOK_SECONDS
            try:
                self._read_again()
            except AccessFileError as error:
                self._content = None  # so that restoring the previous content counts as an accepted change
                if str(error) != self._mistake:
                    self._mistake = str(error)
                    _log.error("%s; still using the previous content", error)
                    self._on_reload(False)
            return True

    def _found(self, shown: str) -> Grant:
        """Look up credentials and cache the result. Computing the digest takes longer than all other steps here."""
        known, grants = self.known, self._grants
        found = [grants[key] for key in self._credentials.keys(shown) if key in grants]
        if not found:
            raise self._credentials.refusal
        # If several names of a certificate match, the first row in the file wins: that order doesn't depend on the
        # issuer.
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
        _log.info("Loaded %s %s again after a change: %d entries", self._credentials.title, self._path, len(rows))
        self._on_reload(True)

    def _use(self, rows: Mapping[bytes | str, AccessRow]) -> None:
        """Replace the rows. Calls in progress keep their grants, and each grant follows its row."""
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
    """Return the server's gate, or None if no credentials are required. Raise StartError if its file cannot be used."""
    path = settings.access_file
    if path is None:
        return None
    credentials = TOKENS if settings.client_roles is None else CLIENT_ROLES
    try:
        return Gate(path, credentials=credentials, on_reload=on_reload)
    except AccessFileError as error:
        raise StartError(str(error)) from error
