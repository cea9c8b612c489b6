"""Read the expiry date of a certificate from its bytes, because `ssl` reports it only for CAs."""

import base64
import datetime as dt
import re

__all__ = ["certificate_end"]

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17


def certificate_end(pem: bytes) -> float:
    """Return the earliest expiry in a chain, in seconds since the epoch, or 0 if no certificate can be read.

    The validity is the fourth or fifth field of a certificate (RFC 5280, 4.1), after serial number, algorithm, issuer.
    """
    ends = []
    for found in _PEM.finditer(pem):
        try:
            ends.append(_not_after(base64.b64decode(found[1])))
        except (ValueError, IndexError):
            continue  # OpenSSL accepted the certificate, but this function reads fewer forms
    return min(ends, default=0.0)


def _not_after(der: bytes) -> float:
    _, certificate, _ = _element(der, 0)
    _, fields, _ = _element(certificate, 0)
    at = 0
    tag, _, after = _element(fields, at)
    if tag == _VERSION:
        at = after
    for _ in range(3):  # serial number, algorithm, issuer
        at = _element(fields, at)[2]
    tag, validity, _ = _element(fields, at)
    if tag != _SEQUENCE:
        raise ValueError("no validity")
    tag, text, _ = _element(validity, _element(validity, 0)[2])
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    said = text.decode("ascii")
    when = dt.datetime.strptime(said, form).replace(tzinfo=dt.UTC)
    if tag == _UTC_TIME and when.year >= 2050:  # RFC 5280, 4.1.2.5.1: years from 50 are 19xx. Python switches at 69
        when = when.replace(year=when.year - 100)
    return when.timestamp()


def _element(der: bytes, at: int) -> tuple[int, bytes, int]:
    """Return an element of DER (X.690): its tag, its contents, and the offset of the next element."""
    tag, size, at = der[at], der[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(der[at : at + count]), at + count
    if at + size > len(der):
        raise ValueError("cut off")
    return tag, der[at : at + size], at + size
