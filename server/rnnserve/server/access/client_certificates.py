"""The certificates that clients show (mutual TLS): the names in one, and the file that gives them roles.

The file is that of tokens, with a name in the place of a token's digest (--client-roles)::

    [team-a]
    subject = "CN=team-a,O=Example"                  # the whole subject, as RFC 4514 writes it: the last part first
    role = "infer"

    [prometheus]
    subject = "uri:spiffe://example.org/prometheus"  # or a subject alternative name, "uri:" or "dns:"
    role = "metrics"

Whether a certificate is genuine TLS has found out before: it is of an authority in --tls-client-ca. The file has
nothing that is secret, and decides who may do what: other users may read it, and not write it.
"""

import base64
import functools

from rnnserve.common.extras import missing_package
from rnnserve.server.access.access_file import FileKind

__all__ = ["CLIENT_ROLES", "names_in"]

_MOST_TEXT = 6 << 10
"""Characters of a certificate that is read, in base64: an RSA key of 4096 bits and ten names take 3,000. The HTTP front
passes no larger one on, since gRPC lets 8 KiB of metadata through."""

_MOST_KEPT = 256
"""Certificates whose names are kept: to read one takes some 50 microseconds."""

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_URI, _DNS = "uri:", "dns:"


@functools.lru_cache(_MOST_KEPT)
def names_in(certificate: str) -> tuple[str, ...]:
    """Give the names in a certificate, as the file has them: its subject, URIs and DNS names.

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


def _read_subject(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError('expected a name in a client certificate: "CN=…,O=…", "uri:…" or "dns:…"')
    if value.startswith(_URI):
        return value
    if value.startswith(_DNS):
        return value.lower()
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


CLIENT_ROLES = FileKind("the file of client roles", "subject", _read_subject, is_secret=False)
