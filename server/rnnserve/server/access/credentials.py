"""By what a caller is known: the token that its call brings, or the certificate that it has shown."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from rnnserve.protos.protocol_words import AUTHORIZATION
from rnnserve.server.access.access_file import TOKENS, FileKind
from rnnserve.server.access.client_certificates import CLIENT_ROLES, names_in
from rnnserve.server.access.refusals import Unauthenticated, UnknownCertificate

__all__ = ["BearerTokens", "ClientCertificates", "Credentials", "no_certificate"]

_SCHEME = "bearer "


def no_certificate() -> str:
    """Give the certificate of a client that has shown none."""
    return ""


class Credentials(Protocol):
    """One of the ways."""

    @property
    def kind(self) -> FileKind:
        """The kind of the file that says who may do what."""

    @property
    def refusal(self) -> type[Unauthenticated]:
        """The error of who is not known."""

    @property
    def is_of_connection(self) -> bool:
        """Whether it is shown to the connection, and not with each call's metadata."""

    def shown(self, metadata: Iterable[Any], certificate: Callable[[], str], /) -> str:
        """Give what a call brings, as it comes; empty for nothing.

        Args:
            metadata: Metadata of the call, each entry a key and a value.
            certificate: Function that gives the certificate that the client has shown, in PEM or DER in base64.
        """

    def keys(self, shown: str, /) -> Sequence[bytes | str]:
        """Give the keys of the file that may be those of what is shown; none of what is in no such form."""


class BearerTokens:
    """Tokens, in the header authorization. Implements `Credentials`."""

    kind = TOKENS
    refusal = Unauthenticated
    is_of_connection = False

    def shown(self, metadata: Iterable[Any], _: Callable[[], str], /) -> str:
        """Give the header; of several, none is one."""
        found: Any = None
        for entry in metadata:  # by its places: to unpack gRPC's named tuples takes half as long again
            if entry[0] == AUTHORIZATION:
                if found is not None:
                    raise Unauthenticated(is_wrong=True)
                found = entry[1]
        if isinstance(found, str):
            return found
        return "" if found is None else "not text"

    def keys(self, shown: str, /) -> Sequence[bytes | str]:
        """Give the digest of the token in a header."""
        if shown[: len(_SCHEME)].lower() != _SCHEME:
            return ()
        return (hashlib.sha256(shown[len(_SCHEME) :].encode(errors="replace")).digest(),)


class ClientCertificates:
    """Certificates of clients. Implements `Credentials`."""

    kind = CLIENT_ROLES
    refusal = UnknownCertificate
    is_of_connection = True

    def shown(self, _: Iterable[Any], certificate: Callable[[], str], /) -> str:
        """Give the certificate."""
        return certificate()

    def keys(self, shown: str, /) -> Sequence[bytes | str]:
        """Give the names in it."""
        return names_in(shown)
