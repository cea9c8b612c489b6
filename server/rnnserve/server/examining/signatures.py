"""Whose signatures would let a version serve: the keys, and the files of what was revoked and of what has served."""

import os
from collections.abc import Iterator
from pathlib import Path

from rnnserve.server.examining.finding import OK, PROBLEM, WARNING, Finding
from rnnserve.server.settings import Settings

__all__ = ["signatures"]

_ABOUT = "signatures"


def signatures(settings: Settings) -> Iterator[Finding]:
    """Look at the files of signatures; which versions would be refused is found with the repository.

    Raises:
        StartError: If one of them cannot be used, or an option is given that is of no use without another.
    """
    from rnnserve.server.signing.gate import open_gate

    gate = open_gate(settings, will_serve=False)
    if gate is None:
        yield Finding(OK, _ABOUT, "none are asked for: whoever may write to the repository decides what serves")
        return
    keys = ", ".join(f"{path} ({key})" for path, key in zip(settings.require_signature, gate.key_ids, strict=True))
    yield Finding(OK, _ABOUT, f"what serves has to be signed with a key of {keys}")
    if settings.signature_record is None and not settings.allow_rollback:
        said = "a model does not go back while the server runs; a restart begins anew"
        yield Finding(OK, _ABOUT, said, "--signature-record FILE keeps what has served")
    elif settings.signature_record is not None and not _may_be_written(settings.signature_record):
        said = f"--signature-record {settings.signature_record} cannot be written by this user"
        yield Finding(PROBLEM, _ABOUT, said, "the server writes it, and a file beside it: give it a folder of its own")
    if settings.allow_rollback:
        said = "--allow-rollback lets any signed version serve, however old"
        yield Finding(WARNING, _ABOUT, said, "leave it out when what was to go back has")


def _may_be_written(path: Path) -> bool:
    """Whether the file may be written: it is written beside itself, and takes its own place."""
    return os.access(path.absolute().parent, os.W_OK | os.X_OK)
