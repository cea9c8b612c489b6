"""Counts TLS handshakes that fail: asyncio and uvloop end such connections without a word."""

import ssl

from rnnserve.common.front_counts import used_front_counts

__all__ = ["count_failed_handshakes"]


class _Counting(ssl.SSLObject):
    """TLS of one connection."""

    def do_handshake(self) -> None:
        """Make the next step of the handshake."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            used_front_counts().count_end("tls_handshake")
            raise


def count_failed_handshakes(context: ssl.SSLContext) -> None:
    """Count those of connections that are made with this context from now on."""
    context.sslobject_class = _Counting
