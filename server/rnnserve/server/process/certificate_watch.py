"""When the certificate that is served ends: told to metrics, and said in the log two weeks before."""

import base64
import datetime as dt
import logging
import re
import time
from collections.abc import Callable

__all__ = ["CertificateWatch", "certificate_end"]

_log = logging.getLogger(__name__)

_DAY = 86400.0
_SOON_SECONDS = 14 * _DAY

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17


class CertificateWatch:
    """Says once a day that the certificate ends soon, or has ended. For one thread."""

    def __init__(self, end: float, clock: Callable[[], float] = time.time) -> None:
        """Start with nothing said.

        Args:
            end: Time of its end, in seconds since the epoch; 0 where there is none.
            clock: Clock, in seconds since the epoch.
        """
        self._end = end
        self._clock = clock
        self._say_at = 0.0

    def look(self) -> None:
        """Look whether it is time to say something."""
        now = self._clock()
        if not self._end or self._end - now > _SOON_SECONDS or now < self._say_at:
            return
        self._say_at = now + _DAY
        when = dt.datetime.fromtimestamp(self._end, dt.UTC).isoformat()
        if self._end <= now:
            _log.error(
                "the certificate of --tls-certificate has ended at %s: clients refuse it; start with a new one", when
            )
        else:
            days = (self._end - now) / _DAY
            _log.warning(
                "the certificate of --tls-certificate ends at %s, in %.1f days: write a new one, and restart (with "
                "--workers, SIGHUP does that without failing a request)",
                when,
                days,
            )


def certificate_end(pem: bytes) -> float:
    """When the first of a chain's certificates ends that ends, in seconds since the epoch; 0 where none can be read.

    `ssl` does not tell it of a certificate that is not an authority's. Of a certificate (RFC 5280, 4.1) the validity is
    the fourth or fifth field, after the serial number, the algorithm and the issuer.

    Args:
        pem: The chain.
    """
    ends = []
    for found in _PEM.finditer(pem):
        try:
            ends.append(_not_after(base64.b64decode(found[1])))
        except (ValueError, IndexError):
            continue  # OpenSSL has taken it, which reads more than this function
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
    if tag == _UTC_TIME and when.year >= 2050:  # RFC 5280, 4.1.2.5.1; Python's own turning point is 69
        when = when.replace(year=when.year - 100)
    return when.timestamp()


def _element(der: bytes, at: int) -> tuple[int, bytes, int]:
    """The tag of an element of DER (X.690), its contents, and where the next one begins."""
    tag, size, at = der[at], der[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(der[at : at + count]), at + count
    if at + size > len(der):
        raise ValueError("cut off")
    return tag, der[at : at + size], at + size
