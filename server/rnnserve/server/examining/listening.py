"""Where a server would listen, and what it would show to clients: ports, certificates, keys."""

import datetime as dt
import importlib.util
import stat
import time
from collections.abc import Iterator

from rnnserve.common.certificate_end import certificate_end
from rnnserve.common.extras import install_command
from rnnserve.common.hosts import is_loopback
from rnnserve.common.tls_identity import IdentityError, read_identity
from rnnserve.common.tls_watch import SOON_SECONDS
from rnnserve.server.errors import StartError
from rnnserve.server.examining.finding import OK, PROBLEM, WARNING, Finding
from rnnserve.server.process.tls_files import tls_files
from rnnserve.server.settings import Settings
from rnnserve.server.sockets.ports import probe_port

__all__ = ["certificates", "http", "plain_metrics", "port", "session_key"]

_TAKEN = "if that is this server, which runs already, all is well; else end what listens there, or choose another with"


def port(settings: Settings, number: int, about: str, flag: str) -> Iterator[Finding]:
    """Whether a port can be had.

    Args:
        settings: Settings of the server.
        number: Number of the port; 0 for any.
        about: Protocol that is served there.
        flag: The option that chooses it.
    """
    where = f"{settings.host}:{number}"
    try:
        probe_port(settings.host, number)
    except StartError as error:
        yield Finding(PROBLEM, "ports", f"{about}: {error}", f"{_TAKEN} {flag}")
    else:
        yield Finding(OK, "ports", f"{about}: {where} is free" if number else f"{about}: any port of {settings.host}")


def http(settings: Settings, number: int | None, usual: int, packages: tuple[str, ...]) -> Iterator[Finding]:
    """Whether HTTP can be served.

    Args:
        settings: Settings of the server.
        number: Number of the port that is asked for; None for the usual one, if it can be had.
        usual: Number of that one.
        packages: Names of what it needs.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        level = WARNING if number is None else PROBLEM
        said = f"HTTP is not served: that needs the package {missing[0]}"
        yield Finding(level, "ports", said, f"{install_command('web')}, or serve with --no-http")
        return
    for found in port(settings, usual if number is None else number, "HTTP", "--http-port"):
        if number is None and found.level == PROBLEM:
            yield Finding(WARNING, "ports", f"{found.said}, so that HTTP is not served", found.remedy)
        else:
            yield found


def plain_metrics(settings: Settings) -> Iterator[Finding]:
    """Whether the port of metrics, which has no TLS, is one for other machines of a server that has it."""
    if settings.tls_certificate is not None and not is_loopback(settings.host):
        said = f"metrics: {settings.host} may be reached from other machines, and --metrics-port is without TLS"
        yield Finding(WARNING, "ports", said, "scrape /metrics on the port of HTTP instead")


def certificates(settings: Settings) -> Iterator[Finding]:
    """Whether the files for TLS are good, and for how long."""
    files = tls_files(settings)
    if files is None:
        if not is_loopback(settings.host):
            said = f"{settings.host} may be reached from other machines, without TLS: all that is sent can be read"
            yield Finding(WARNING, "certificates", said, "give --tls-certificate and --tls-key")
        else:
            yield Finding(OK, "certificates", f"no TLS; {settings.host} is reached from this machine only")
        return
    try:
        identity = read_identity(files)
        identity.context(files)
        flaw = identity.flaw(files)
    except IdentityError as error:
        yield Finding(
            PROBLEM, "certificates", str(error), "write the pair anew; `openssl x509 -in FILE -text` reads one"
        )
        return
    if flaw:
        yield Finding(PROBLEM, "certificates", flaw, "clients refuse it; write a new certificate and its key")
    elif identity.end:
        yield _end("the certificate", identity.end, "write a new one and its key over the files")
    if identity.client_ca is not None and (end := certificate_end(identity.client_ca)):
        yield _end("an authority of clients (--tls-client-ca)", end, "write its new certificate into the file")
    if files.key.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        said = f"every user of this machine may read or write {files.key}"
        yield Finding(WARNING, "certificates", said, f"chmod o= {files.key}")


def _end(what: str, end: float, remedy: str) -> Finding:
    left = end - time.time()
    if left <= 0:
        return Finding(WARNING, "certificates", f"{what} has ended at {_date(end)}", remedy)
    said = f"{what} ends at {_date(end)}, in {left / 86400:.0f} days"
    return Finding(WARNING, "certificates", said, remedy) if left < SOON_SECONDS else Finding(OK, "certificates", said)


def session_key(settings: Settings) -> Iterator[Finding]:
    """Whether the file of the key that seals states is good.

    Raises:
        StartError: If it is not.
    """
    from rnnserve.server.protocol.sealed_states import open_sealed_states

    if open_sealed_states(settings) is not None:
        yield Finding(OK, "session key", "states of sessions can be sealed")


def _date(end: float) -> str:
    return dt.datetime.fromtimestamp(end, dt.UTC).isoformat(timespec="seconds")
