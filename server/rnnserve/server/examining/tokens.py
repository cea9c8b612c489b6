"""Whose calls a server would answer: its file of tokens, which of them hold, and until when."""

import datetime as dt
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnserve.common.hosts import is_loopback
from rnnserve.common.tls_watch import SOON_SECONDS
from rnnserve.protos.access_table import ROLES, Need
from rnnserve.server.access.tokens_file import Token, TokensError, read_content, read_tokens
from rnnserve.server.examining.finding import OK, PROBLEM, WARNING, Finding
from rnnserve.server.settings import Settings

__all__ = ["tokens"]

_ABOUT = "tokens"


def tokens(settings: Settings) -> Iterator[Finding]:
    """Who is answered."""
    if settings.tokens is None:
        yield _without(settings)
        return
    try:
        found = sorted(read_tokens(read_content(settings.tokens), settings.tokens).values(), key=lambda one: one.name)
    except TokensError as error:
        yield Finding(PROBLEM, _ABOUT, str(error), "the server would not start; `rnnserve token list` reads the file")
        return
    yield from _mode(settings.tokens)
    now = time.time()
    yield from _ends(found, settings.tokens, now)
    holding = [token for token in found if not _has_ended(token, now)]
    new = f"rnnserve token new --tokens {settings.tokens} --name NAME --role {ROLES[0]}"
    if not holding:
        yield Finding(PROBLEM, _ABOUT, f"{settings.tokens} lets nobody in: it has no token that holds", new)
    elif not any(token.role in Need.INFER.value for token in holding):
        yield Finding(PROBLEM, _ABOUT, f"no token of {settings.tokens} that holds may ask a model", new)
    else:
        counted = Counter(token.role for token in holding)
        said = ", ".join(f"{count} of the role {role}" for role, count in sorted(counted.items()))
        yield Finding(OK, _ABOUT, f"{settings.tokens} admits {said}")


def _without(settings: Settings) -> Finding:
    if settings.tls_client_ca is not None:
        return Finding(OK, _ABOUT, "none are asked for; clients need a certificate of --tls-client-ca")
    if is_loopback(settings.host):
        return Finding(OK, _ABOUT, "none are asked for: every user of this machine is answered")
    said = f"{settings.host} may be reached from other machines, and everybody who reaches it is answered"
    return Finding(WARNING, _ABOUT, said, "give --tokens, or --tls-client-ca")


def _mode(path: Path) -> Iterator[Finding]:
    """Whether others may write the file; what every user may read or write is refused when it is read."""
    if path.stat().st_mode & stat.S_IWGRP:
        said = f"all of its group may write {path}, and so let themselves in"
        yield Finding(WARNING, _ABOUT, said, f"chmod g-w {path}")


def _ends(found: Sequence[Token], path: Path, now: float) -> Iterator[Finding]:
    for token in found:
        if token.not_after is not None and token.not_after - now < SOON_SECONDS:
            when = dt.datetime.fromtimestamp(token.not_after, dt.UTC).isoformat(timespec="seconds")
            if _has_ended(token, now):
                said = f"[{token.name}] has ended at {when}"
                remedy = f"rnnserve token revoke --tokens {path} --name {token.name}"
            else:
                days = (token.not_after - now) / 86400
                said, remedy = f"[{token.name}] ends at {when}, in {days:.0f} days", "give its client a new one before"
            yield Finding(WARNING, _ABOUT, said, remedy)


def _has_ended(token: Token, now: float) -> bool:
    return token.not_after is not None and token.not_after <= now
