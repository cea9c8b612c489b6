"""How callers are known: by the token that a call brings, or by the certificate that its client has shown (mutual TLS).

TLS has already verified that the certificate is of an authority in --tls-client-ca.
"""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rnnserve.common.extras import missing_package
from rnnserve.protos.protocol_words import AUTHORIZATION
from rnnserve.server.errors import Unauthenticated, UnknownCertificate

__all__ = ["CLIENT_ROLES", "TOKENS", "Credentials", "names_in"]

_SCHEME = "bearer "

_MOST_TEXT = 6 << 10
"""Characters of a certificate that is read, in base64: an RSA key of 4096 bits and ten names take 3,000. The HTTP
gateway passes no larger one on, since gRPC lets 8 KiB of metadata through."""

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_URI, _DNS = "uri:", "dns:"


@dataclasses.dataclass(frozen=True)
class Credentials:
    """A way in which callers are known, and the file that gives them roles.

    `shown` returns what a call brings, from its metadata and a function that returns the client's certificate; empty
    for nothing. `keys` returns the keys of the file by which that may be found.
    """

    title: str  # what messages call the file
    key: str  # name of the value by which a table of the file finds its holder
    is_secret: bool  # whether other users may not read the file
    read_key: Callable[[object], bytes | str]  # reads that value; raises ValueError
    shown: Callable[[Iterable[Any], Callable[[], str]], str]
    keys: Callable[[str], Sequence[bytes | str]]
    refusal: type[Unauthenticated]  # of unknown callers


def _read_digest(value: object) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("expected 64 hexadecimal digits, the SHA-256 of a token (rnnserve token new)")
    return bytes.fromhex(value)


def _shown_token(metadata: Iterable[Any], _: Callable[[], str]) -> str:
    """Return the header authorization; several are refused."""
    found: Any = None
    for entry in metadata:  # by its places: unpacking gRPC's named tuples takes half as long again
        if entry[0] == AUTHORIZATION:
            if found is not None:
                raise Unauthenticated
            found = entry[1]
    if isinstance(found, str):
        return found
    return "" if found is None else "not text"


def _digest_of(header: str) -> Sequence[bytes]:
    """Return the digest of the token in a header."""
    if header[: len(_SCHEME)].lower() != _SCHEME:
        return ()
    return (hashlib.sha256(header[len(_SCHEME) :].encode(errors="replace")).digest(),)


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


def names_in(certificate: str) -> tuple[str, ...]:
    """Return the names in a certificate, as the file has them: its subject, URIs and DNS names.

    The certificate is PEM, or DER in base64; of a chain in PEM, the first one counts. One that cannot be read, or is
    too large, has no names.
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


TOKENS = Credentials(
    title="the file of tokens",
    key="sha256",
    is_secret=True,
    read_key=_read_digest,
    shown=_shown_token,
    keys=_digest_of,
    refusal=Unauthenticated,
)

CLIENT_ROLES = Credentials(
    title="the file of client roles",
    key="subject",
    is_secret=False,
    read_key=_read_subject,
    shown=lambda _, certificate: certificate(),
    keys=names_in,
    refusal=UnknownCertificate,
)
