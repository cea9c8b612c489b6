"""The warning of a server that others than this machine can reach, without TLS or without asking who they are."""

from rnnserve.common.hosts import is_loopback
from rnnserve.server.settings import Settings

__all__ = ["exposure"]


def exposure(settings: Settings, metrics_port: int | None = None) -> str:
    """Say what a server lacks that listens beyond this machine, and the way out; nothing where it lacks nothing.

    Args:
        settings: Settings of the server.
        metrics_port: Number of the port for metrics, which has no TLS; None for none.
    """
    if is_loopback(settings.host):
        return ""
    lacks, ways = [], []
    if settings.tls_certificate is None:
        lacks.append("without TLS")
        ways.append("give it --tls-certificate and --tls-key")
    elif metrics_port is not None:
        lacks.append("without TLS on --metrics-port")
        ways.append("scrape /metrics on the port of HTTP instead")
    if settings.access_file is None and settings.tls_client_ca is None:
        lacks.append("for everybody who reaches it")
        ways.append("give it --tokens, or --tls-client-ca and --client-roles")
    if not lacks:
        return ""
    return (
        f"listens beyond this machine, on {settings.host}, {' and '.join(lacks)}: {'; '.join(ways)}; or --host "
        "127.0.0.1 (docs/access.md)"
    )
