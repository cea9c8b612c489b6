"""The options of TLS."""

import dataclasses
from pathlib import Path

from rnnserve.server.errors import StartError
from rnnserve.server.settings.option import option
from rnnserve.server.settings.part import SettingsPart

__all__ = ["TlsSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TlsSettings(SettingsPart):
    """Whether the port is one for TLS, and which clients may connect.

    Attributes:
        tls_certificate: File in PEM with the certificate chain; None for a port without TLS.
        tls_key: File in PEM with the private key; given together with `tls_certificate`.
        tls_client_ca: File in PEM with the authorities of client certificates (mutual TLS): clients without a
            certificate of one of these cannot connect. None admits every client.

    Raises:
        StartError: If only one of certificate and key is given, or `tls_client_ca` without them.
    """

    tls_certificate: Path | None = dataclasses.field(
        default=None, metadata=option("serve over TLS: certificate chain in PEM", Path, metavar="FILE")
    )
    tls_key: Path | None = dataclasses.field(
        default=None, metadata=option("serve over TLS: private key in PEM", Path, metavar="FILE")
    )
    tls_client_ca: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            "admit only clients with a certificate of these authorities: certificates in PEM", Path, metavar="FILE"
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise StartError("TLS needs both --tls-certificate and --tls-key")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise StartError("--tls-client-ca needs TLS: --tls-certificate and --tls-key")
