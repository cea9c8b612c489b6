"""How callers are known: by the token that a call brings, or by the certificate that its client has shown (mutual TLS).

Certificates have roles in a file like that of tokens (--client-roles)::

    [team-a]
    subject = "CN=team-a,O=Example"                  # the whole subject, as RFC 4514 writes it: the last part first
    role = "infer"

    [prometheus]
    subject = "uri:spiffe://example.org/prometheus"  # or a subject alternative name, "uri:" or "dns:"
    role = "metrics"

TLS has already verified that the certificate is of an authority in --tls-client-ca. The file holds no secrets and
decides who may do what, so other users may read it but not write it.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from rnnserve.common.extras import missing_package
from rnnserve.protos.protocol_words import AUTHORIZATION
from rnnserve.server.access.access_file import FileKind
from rnnserve.server.errors import Unauthenticated, UnknownCertificate

__all__ = ["CLIENT_ROLES", "TOKENS", "BearerTokens", "ClientCertificates", "Credentials", "names_in", "no_certificate"]

_SCHEME = "bearer "

_MOST_TEXT = 6 << 10
"""Characters of a certificate that is read, in base64: an RSA key of 4096 bits and ten names take 3,000. The HTTP
gateway passes no larger one on, since gRPC lets 8 KiB of metadata through."""

_MOST_KEPT = 256
"""Certificates whose names are kept: reading one takes some 50 microseconds."""

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_URI, _DNS = "uri:", "dns:"


def _read_digest(value: object) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("expected 64 hexadecimal digits, the SHA-256 of a token (rnnserve token new)")
    return bytes.fromhex(value)


def _read_subject(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError('expected a name in a client certificate: "CN=…,O=…", "uri:…" or "dns:…"')
    if value.startswith((_URI, _DNS)):
        return value.lower() if value.startswith(_DNS) else value
    try:
        from cryptography import x509
    except ModuleNotFoundError:
        raise ValueError(missing_package("cryptography", "server")) from None
    try:
        return x509.Name.from_rfc4514_string(value).rfc4514_string()
    except ValueError as error:
        raise ValueError(
            f'expected a subject as RFC 4514 writes it ("CN=team-a,O=Example"), "uri:…" or "dns:…": {error}'
        ) from error


TOKENS = FileKind("the file of tokens", "sha256", _read_digest, is_secret=True)
CLIENT_ROLES = FileKind("the file of client roles", "subject", _read_subject, is_secret=False)


def no_certificate() -> str:
    """Return the certificate of a client that has shown none."""
    return ""


class Credentials(Protocol):
    """Either way in which callers are known.

    Attributes:
        kind: The kind of the file that says who may do what.
        refusal: The error for unknown callers.
        is_of_connection: Whether the connection has them, not each call's metadata.
    """

    kind: FileKind
    refusal: type[Unauthenticated]
    is_of_connection: bool

    def shown(self, metadata: Iterable[Any], certificate: Callable[[], str], /) -> str:
        """Return what a call brings, as it comes; empty for nothing.

        Args:
            metadata: Metadata of the call, each entry a key and a value.
            certificate: Function that returns the client's certificate, in PEM or DER in base64; empty for none.
        """

    def keys(self, shown: str, /) -> Sequence[bytes | str]:
        """Return the keys of the file that what is shown may have; none if it has another form."""


class BearerTokens:
    """Tokens, in the header authorization."""

    kind = TOKENS
    refusal: type[Unauthenticated] = Unauthenticated
    is_of_connection = False

    def shown(self, metadata: Iterable[Any], _: Callable[[], str], /) -> str:
        """Return the header; several are refused."""
        found: Any = None
        for entry in metadata:  # by its places: unpacking gRPC's named tuples takes half as long again
            if entry[0] == AUTHORIZATION:
                if found is not None:
                    raise Unauthenticated
                found = entry[1]
        if isinstance(found, str):
            return found
        return "" if found is None else "not text"

    def keys(self, shown: str, /) -> Sequence[bytes | str]:
        """Return the digest of the token in a header."""
        if shown[: len(_SCHEME)].lower() != _SCHEME:
            return ()
        return (hashlib.sha256(shown[len(_SCHEME) :].encode(errors="replace")).digest(),)


class ClientCertificates:
    """Certificates of clients."""

    kind = CLIENT_ROLES
    refusal: type[Unauthenticated] = UnknownCertificate
    is_of_connection = True

    def shown(self, _: Iterable[Any], certificate: Callable[[], str], /) -> str:
        """Return the certificate."""
        return certificate()

    def keys(self, shown: str, /) -> Sequence[bytes | str]:
        """Return the names in it."""
        return names_in(shown)


@functools.lru_cache(_MOST_KEPT)
def names_in(certificate: str) -> tuple[str, ...]:
    """Return the names in a certificate, as the file has them: its subject, URIs and DNS names.

    Args:
        certificate: Certificate in PEM, or DER in base64; of a chain in PEM, the first one counts. One that
            cannot be read, or is too large, has no names.
    """
    from cryptography import x509

    text = "".join(certificate.partition(_END)[0].rpartition(_BEGIN)[2].split())
    if len(text) > _MOST_TEXT:
        return ()
    try:
        read = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        subject = read.subject.rfc4514_string()
        try:
            others = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return (subject,) if subject else ()
        uris = [f"{_URI}{name}" for name in others.get_values_for_type(x509.UniformResourceIdentifier)]
        hosts = [f"{_DNS}{name.lower()}" for name in others.get_values_for_type(x509.DNSName)]
    except Exception:  # noqa: BLE001 - the parser has many, and what TLS took need not please it: then it has no names
        return ()
    return (*([subject] if subject else []), *uris, *hosts)
