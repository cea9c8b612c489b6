"""The warning of a front that others than this machine can reach, without TLS or with a token of its own for them."""

from rnnserve.common.hosts import is_loopback

__all__ = ["exposure"]


def exposure(host: str, *, has_tls: bool, asks_for_certificates: bool, sends_token: bool) -> str:
    """Say what a front lacks that listens beyond this machine, and the way out; nothing where it lacks nothing.

    Args:
        host: Name or address that it listens on.
        has_tls: Whether it serves over TLS.
        asks_for_certificates: Whether it admits clients with a certificate only.
        sends_token: Whether it sends a token of its own for clients that bring none.
    """
    if is_loopback(host):
        return ""
    lacks, ways = [], []
    if not has_tls:
        lacks.append("without TLS")
        ways.append("give it --tls-certificate and --tls-key")
    if sends_token and not asks_for_certificates:
        lacks.append("with its own token for everybody who reaches it")
        ways.append("let clients bring theirs, without --token-file, or give it --tls-client-ca")
    if not lacks:
        return ""
    return (
        f"listens beyond this machine, on {host}, {' and '.join(lacks)}: {'; '.join(ways)}; or --host 127.0.0.1 "
        "(docs/access.md)"
    )
