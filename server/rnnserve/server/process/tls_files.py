"""The files for TLS that the settings name."""

from rnnserve.common.tls_identity import TlsFiles
from rnnserve.server.settings import Settings

__all__ = ["tls_files"]


def tls_files(settings: Settings) -> TlsFiles | None:
    """The files; None where TLS is not wanted."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
