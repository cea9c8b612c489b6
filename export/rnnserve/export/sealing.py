"""Signing a version on its way into the repository: no server ever sees it without its signature."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rnnserve.export.errors import ExportError
from rnnserve.protos.signing.signed_version import (
    SignatureError,
    check_release,
    read_signed,
    sign_version,
    write_release,
)
from rnnserve.protos.triton_config import CONFIG

__all__ = ["Seal", "seal_with"]

Seal = Callable[[Path, int], object]
"""Completes the folder of a version that is about to be published under a number, as by signing it."""


def seal_with(key_file: Path | None, password_file: Path | None = None) -> Seal:
    """Give what signs a version for `publish`: a function of the folder of its files, and of its number.

    What is signed with the key already, beside the config as it is now, stays as it is.

    Args:
        key_file: Private key in PEM, of the elliptic curve P-256 or P-384; None to sign nothing.
        password_file: File with the key's password in its first line; None for a key without one.

    Raises:
        ArtifactError: If the key cannot be read.
        ExportError: If the package `cryptography` is missing.
    """
    if key_file is None:
        return lambda *_: None
    try:
        from rnnserve.protos.signing.keys import read_private_key
    except ModuleNotFoundError as missing:
        raise ExportError(f"signing needs the package {missing.name}: pip install 'rnnserve[sign]'") from missing
    key = read_private_key(key_file, password_file)

    def seal(folder: Path, number: int) -> None:
        with suppress(SignatureError):
            signed = read_signed(folder, [key.public])
            check_release(signed.release, folder.parent.name, number, (folder.parent / CONFIG).read_bytes())
            return
        write_release(folder, number=number)
        sign_version(folder, key)

    return seal
