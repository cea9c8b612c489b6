"""The gate: whether a call may be answered, by its token or certificate and the method that it has matched."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnserve.protos.access_table import METHODS, ROUTES, Need
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL
from rnnserve.server.access.access_file import AccessFileError, AccessRow, read_content, read_rows
from rnnserve.server.access.credentials import BearerTokens, ClientCertificates, Credentials, no_certificate
from rnnserve.server.errors import PermissionDenied, StartError, Unauthenticated
from rnnserve.server.settings import Settings

__all__ = ["Gate", "Grant", "open_gate"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
"""Seconds between two looks at the file: a token that is taken out of it is refused that much later at most."""

_SETTLED_SECONDS = 2.0
"""Seconds for which a file that has changed is read again at each look: within one tick of the kernel's clock it may
have changed twice, and look the same."""

_MOST_KNOWN = 4096
"""Tokens and certificates, as calls bring them, that are found without a digest."""


class Grant:
    """What a token or certificate admits to. Calls that last ask it again, since the file may change. Thread-safe.

    Attributes:
        token: Its row of the file; None after the row was removed.
        is_for_all: Whether the file has it, for all models: then no request's model needs a look.
        requests: How many requests the fast path has let in with it.
        refusal: The error for unknown callers.
    """

    __slots__ = ("_clock", "_lasting", "is_for_all", "refusal", "requests", "token")

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

    @property
    def holder(self) -> str:
        """Name of its row; empty after the row was removed."""
        return "" if self.token is None else self.token.name

    def valid_token(self) -> AccessRow:
        """Return its row.

        Raises:
            Unauthenticated: If the row was removed or has expired.
        """
        token = self._valid()
        if token is None:
            raise self.refusal
        return token

    def check(self, need: Need) -> None:
        """Check that it has a role that is needed.

        Raises:
            PermissionDenied: If it does not.
            Unauthenticated: If its row was removed or has expired.
        """
        # `has_role`, without a call for each request.
        if (self._lasting or self.valid_token()).role not in need.roles:
            raise PermissionDenied.of_role(need.roles)

    def check_model(self, name: str) -> None:
        """Check that it is for a model, whether or not there is one of that name.

        Raises:
            PermissionDenied: If it is not.
            Unauthenticated: If its row was removed or has expired.
        """
        if not self.valid_token().is_for(name):
            raise PermissionDenied.of_model()

    def admits_at_once(self, need: Need) -> bool:
        """Tell whether it admits to what is needed until the file changes."""
        return self._lasting is not None and self._lasting.has_role(need)

    def admits(self, need: Need) -> bool:
        """Tell whether it is valid, and has a role that is needed."""
        token = self._valid()
        return token is not None and token.has_role(need)

    def is_for(self, name: str) -> bool:
        """Tell whether it is valid, and for a model."""
        token = self._valid()
        return token is not None and token.is_for(name)

    def _valid(self) -> AccessRow | None:
        token = self.token
        if token is None or (token.not_after is not None and token.not_after <= self._clock()):
            return None
        return token


class Gate:
    """Decides by a file, which it reads again when it changes. Thread-safe.

    Attributes:
        credentials: How callers are known.
        shown: What a call brings, as it comes (`Credentials.shown`).
        at_once: By that, grants that neither end nor lack the role for inference. The fast path looks here first,
            and adds what it has let in otherwise. Each change of the file replaces the table.
    """

    def __init__(
        self,
        path: Path,
        *,
        credentials: Credentials | None = None,
        on_reload: Callable[[bool], None] = lambda _: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the file.

        Args:
            path: Path of the file.
            credentials: Value of the attribute of the same name; None for tokens.
            on_reload: Function that is told, after the file has changed, whether it was accepted.
            wall_clock: Clock, in seconds since the epoch.

        Raises:
            AccessFileError: If it cannot be used.
        """
        self.credentials = credentials or BearerTokens()
        self.shown = self.credentials.shown
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
        self._looking = threading.Lock()
        self._look_at = 0.0
        self._mistake = ""  # in the file as it is now

    def admit(
        self, method: str, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate
    ) -> Grant | None:
        """Let a call in, by the full name of its method, or refuse it.

        Args:
            method: Full name of the method.
            metadata: Metadata of the call, each entry a key and a value.
            certificate: Function that returns the client's certificate; empty for none.

        Returns:
            What its caller may do; None if the method needs nothing.

        Raises:
            PermissionDenied: If its caller may not.
            Unauthenticated: If it brings nothing that is valid.
        """
        return self.admit_to(METHODS.get(method, Need.NONE_MAY), metadata, certificate)

    def admit_to(
        self, need: Need, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate
    ) -> Grant | None:
        """Let in, or refuse, as `admit` does, what has this need."""
        if need in (Need.INSIDE, Need.OPEN, Need.HEALTH):
            return None
        return self.grant_with(need, metadata, certificate)

    def admit_route(self, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate) -> None:
        """Check the route, and its model, that the HTTP gateway asks about in the metadata, if it does.

        Raises:
            PermissionDenied: If the caller may not use it.
            Unauthenticated: If nothing is brought that is valid, and the route needs that.
        """
        entries = {entry[0]: entry[1] for entry in metadata if entry[0] in (ROUTE, ROUTE_MODEL)}
        if ROUTE in entries:
            grant = self.admit_to(ROUTES.get(entries[ROUTE], Need.NONE_MAY), metadata, certificate)
            if grant is not None and ROUTE_MODEL in entries:
                grant.check_model(entries[ROUTE_MODEL])

    def grant_of(self, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate) -> Grant:
        """Return what the caller may do.

        Raises:
            Unauthenticated: If nothing is brought that is valid.
        """
        grant = self._grant_of(metadata, certificate)
        grant.valid_token()
        return grant

    def grant_with(self, need: Need, metadata: Iterable[Any], certificate: Callable[[], str] = no_certificate) -> Grant:
        """Return what the caller may do, if it has a role that is needed.

        Raises:
            PermissionDenied: If it has no such role.
            Unauthenticated: If nothing is brought that is valid.
        """
        grant = self._grant_of(metadata, certificate)
        grant.check(need)
        return grant

    def grants(self) -> Iterator[tuple[str, Grant]]:
        """The names of the rows, each with what its holder may do."""
        for grant in list(self._grants.values()):
            if grant.token is not None:
                yield grant.token.name, grant

    def look(self, at: float) -> bool:
        """Read the file again if it has changed. To be called again and again.

        Args:
            at: Time in seconds, on a clock that does not go back.

        Returns:
            Whether it was time to look: then tokens may have ended, by the file or by their time.
        """
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

    def _grant_of(self, metadata: Iterable[Any], certificate: Callable[[], str]) -> Grant:
        """Return the grant of what the caller brings, whether it holds now or not."""
        shown = self.shown(metadata, certificate)
        grant = self._known.get(shown)
        return self._found(shown) if grant is None else grant

    def _found(self, shown: str) -> Grant:
        """Look up what is shown, and keep what is found: a digest takes longer than all else here.

        Raises:
            Unauthenticated: If it has another form, or is not known.
        """
        known, grants = self._known, self._grants
        found = [grants[key] for key in self.credentials.keys(shown) if key in grants]
        if not found:
            raise self.credentials.refusal
        # Of several names in a certificate, the one whose row stands first: that does not depend on its issuer.
        grant = found[0] if len(found) == 1 else next(each for each in grants.values() if each in found)
        if len(known) < _MOST_KNOWN:
            known[shown] = grant
        return grant

    def _read_again(self) -> None:
        stamp = self._stamp_of_file()
        if stamp == self._stamp and self._read_at - stamp[0] / 1e9 > _SETTLED_SECONDS:
            return
        self._stamp, self._read_at = stamp, self._clock()
        content = read_content(self._path, self.credentials.kind)
        if content == self._content:
            return
        rows = read_rows(content, self._path, self.credentials.kind)
        self._content, self._mistake = content, ""
        self._use(rows)
        _log.info("%s %s has changed: %d rows", self.credentials.kind.title, self._path, len(rows))
        self._on_reload(True)

    def _use(self, rows: Mapping[bytes | str, AccessRow]) -> None:
        """Replace the rows. Grants that calls have stay, and follow their rows."""
        before, grants = self._grants, dict[bytes | str, Grant]()
        requests = {grant.holder: grant.requests for grant in before.values()}  # a new token counts on from the old one
        for key, row in rows.items():
            grant = before.get(key)
            if grant is None:
                grant = Grant(row, self._clock, self.credentials.refusal)
                grant.requests = requests.get(row.name, 0)
            grant.set(row)
            grants[key] = grant
        self._grants, self._known = grants, {}
        for key, grant in before.items():
            if key not in grants:
                grant.set(None)
        self.at_once = {}

    def _stamp_of_file(self) -> tuple[int, int, int, int, int]:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - the same, and read by more
        except OSError as error:
            title = self.credentials.kind.title
            raise AccessFileError(f"{title} {self._path} cannot be read: {error.strerror or error}") from error
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


def open_gate(settings: Settings, on_reload: Callable[[bool], None] = lambda _: None) -> Gate | None:
    """Make the gate of a server; None if it asks for neither tokens nor certificates.

    Args:
        settings: Settings of whose calls are answered.
        on_reload: Function that is told, after the file has changed, whether it was accepted.

    Raises:
        StartError: If the file cannot be used.
    """
    path = settings.access_file
    if path is None:
        return None
    credentials = BearerTokens() if settings.client_roles is None else ClientCertificates()
    try:
        return Gate(path, credentials=credentials, on_reload=on_reload)
    except AccessFileError as error:
        raise StartError(str(error)) from error
