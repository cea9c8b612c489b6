"""Whose calls a server would answer: its file of tokens or client roles, which rows of it hold, and until when."""

import datetime as dt
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnserve.common.hosts import is_loopback
from rnnserve.common.tls_watch import SOON_SECONDS
from rnnserve.protos.access_table import ROLES, Need
from rnnserve.server.access.access_file import AccessFileError, AccessRow, read_content, read_rows
from rnnserve.server.access.credentials import BearerTokens, ClientCertificates
from rnnserve.server.examining.finding import OK, PROBLEM, WARNING, Finding
from rnnserve.server.settings import Settings

__all__ = ["access"]

_ABOUT = "access"


def access(settings: Settings, metrics_port: int | None) -> Iterator[Finding]:
    """Who is answered.

    Args:
        settings: Settings of the server.
        metrics_port: Number of the port for metrics; None for none.

    Raises:
        StartError: If scrapers could not show there who they are.
    """
    settings.check_metrics_port(metrics_port)
    path = settings.access_file
    if path is None:
        yield _without(settings)
        return
    is_of_tokens = settings.client_roles is None
    kind = (BearerTokens if is_of_tokens else ClientCertificates).kind
    try:
        found = sorted(read_rows(read_content(path, kind), path, kind).values(), key=lambda one: one.name)
    except AccessFileError as error:
        reads = "; `rnnserve token list` reads the file" if is_of_tokens else ""
        yield Finding(PROBLEM, _ABOUT, str(error), f"the server would not start{reads}")
        return
    yield from _mode(path)
    now = time.time()
    yield from _ends(found, path, now, is_of_tokens=is_of_tokens)
    holding = [token for token in found if not _has_ended(token, now)]
    new = f"rnnserve token new --tokens {path} --name NAME --role {ROLES[0]}" if is_of_tokens else "add a row"
    what = "token" if is_of_tokens else "row"
    if not holding:
        yield Finding(PROBLEM, _ABOUT, f"{path} lets nobody in: it has no {what} that holds", new)
    elif not any(token.has_role(Need.INFER) for token in holding):
        yield Finding(PROBLEM, _ABOUT, f"no {what} of {path} that holds may ask a model", new)
    else:
        counted = Counter(token.role for token in holding)
        said = ", ".join(f"{count} of the role {role}" for role, count in sorted(counted.items()))
        yield Finding(OK, _ABOUT, f"{path} admits {said}")


def _without(settings: Settings) -> Finding:
    if settings.tls_client_ca is not None:
        return Finding(OK, _ABOUT, "whoever has a certificate of --tls-client-ca may do all that the server does")
    if is_loopback(settings.host):
        return Finding(OK, _ABOUT, "every user of this machine may do all that the server does")
    said = f"whoever reaches {settings.host} may do all that the server does"
    return Finding(WARNING, _ABOUT, said, "give --tokens, or --tls-client-ca and --client-roles")


def _mode(path: Path) -> Iterator[Finding]:
    """Whether others may write the file; what every user may read or write is refused when it is read."""
    if path.stat().st_mode & stat.S_IWGRP:
        said = f"all of its group may write {path}, and so let themselves in"
        yield Finding(WARNING, _ABOUT, said, f"chmod g-w {path}")


def _ends(found: Sequence[AccessRow], path: Path, now: float, *, is_of_tokens: bool) -> Iterator[Finding]:
    for token in found:
        if token.not_after is not None and token.not_after - now < SOON_SECONDS:
            when = dt.datetime.fromtimestamp(token.not_after, dt.UTC).isoformat(timespec="seconds")
            if _has_ended(token, now):
                said = f"[{token.name}] has ended at {when}"
                revoke = f"rnnserve token revoke --tokens {path} --name {token.name}"
                remedy = revoke if is_of_tokens else "take it out"
            else:
                said = f"[{token.name}] ends at {when}, in {(token.not_after - now) / 86400:.0f} days"
                remedy = "give its client a new one before" if is_of_tokens else "set a later not_after, or take it out"
            yield Finding(WARNING, _ABOUT, said, remedy)


def _has_ended(token: AccessRow, now: float) -> bool:
    return token.not_after is not None and token.not_after <= now
