"""Signing a version on its way into the repository: no server ever sees it without its signature."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rnnserve.common.extras import missing_package
from rnnserve.export.errors import ExportError
from rnnserve.protos.signing.signed_version import (
    SignatureError,
    read_signed_in_place,
    sign_version,
    write_release,
)

__all__ = ["Seal", "seal_with"]

Seal = Callable[[Path, int], object]
"""Completes the folder of a version that is about to be published under a number, as by signing it."""


def seal_with(key_file: Path | str | None, password_file: Path | str | None = None) -> Seal:
    """Give what signs a version for `publish`: a function of the folder of its files, and of its number.

    What is signed with the key already, beside the config as it is now, stays as it is.

    Args:
        key_file: Private key in PEM, of the elliptic curve P-256 or P-384; None to sign nothing.
        password_file: File with the key's password in its first line; None for a key without one.

    Raises:
        ArtifactError: If the key cannot be read.
        ExportError: If the package `cryptography` is missing, or there is a password and no key.

    Example:
        import subprocess
        import torch
        from rnnserve.export import Floats, publish, seal_with

        make_key = "openssl ecparam -name prime256v1 -genkey -noout -out release.key"
        subprocess.run(make_key.split(), check=True)  # yours is kept where models are released
        result = publish(
            torch.nn.GRU(3, 8, batch_first=True).eval(),  # with your weights
            "gru",
            repository="own_models",
            inputs={"input": Floats("batch", "sequence", 3)},
            outputs=["output", "h_n"],
            progress=False,
            seal=seal_with("release.key"),
        )
        print((result.published.folder / "model.sig").is_file())  # True
    """
    if key_file is None:
        if password_file is not None:
            raise ExportError("a password is given for a key, and no key (--sign-key): nothing would be signed")
        return lambda *_: None
    try:
        from rnnserve.protos.signing.keys import read_private_key
    except ModuleNotFoundError as missing:
        raise ExportError(f"signing {missing_package(missing.name, 'sign')}") from missing
    key = read_private_key(Path(key_file), None if password_file is None else Path(password_file))

    def seal(folder: Path, number: int) -> None:
        with suppress(SignatureError):
            read_signed_in_place(folder, [key.public], number)
            return
        write_release(folder, number=number)
        sign_version(folder, key)

    return seal
