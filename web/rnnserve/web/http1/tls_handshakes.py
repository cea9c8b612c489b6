"""TLS handshakes: that they fail, which asyncio and uvloop do not tell, and what a client has shown in one."""

import asyncio
import base64
import ssl

from rnnserve.common.gateway_counts import used_gateway_counts

__all__ = ["count_failed_handshakes", "shown_certificate"]

_MOST_TEXT = 6 << 10
"""Characters of a certificate that servers are told: they give no larger one a role."""


class _Counting(ssl.SSLObject):
    """TLS of one connection."""

    def do_handshake(self) -> None:
        """Make the next step of the handshake."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            used_gateway_counts().count_end("tls_handshake")
            raise


def count_failed_handshakes(context: ssl.SSLContext) -> None:
    """Count those of connections that are made with this context from now on."""
    context.sslobject_class = _Counting


def shown_certificate(transport: asyncio.BaseTransport) -> str:
    """Give the certificate that a client has shown, in DER and base64; empty for none, or one that is too large.

    Args:
        transport: Transport of the connection, after the handshake.
    """
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    shown = None if tls is None else tls.getpeercert(binary_form=True)
    text = base64.b64encode(shown or b"").decode()
    return text if len(text) <= _MOST_TEXT else ""
