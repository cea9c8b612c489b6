"""Signatures (--require-signature): which versions are signed with a trusted key. Unsigned versions don't serve.

All versions of a model are verified before its config.pbtxt is parsed. Afterwards the load check and the server accept
a file only with its signed digest. `rnnserve.protos.signing` defines and reads signatures.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rnnserve.common.extras import missing_package
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.signing.signed_version import SignatureError, Signed, check_release, read_signed
from rnnserve.server.errors import StartError
from rnnserve.server.settings import Settings

__all__ = ["SignatureGate", "open_signature_gate"]


class SignatureGate:
    """Verifies versions with the trusted keys. Thread-safe."""

    def __init__(self, keys: Sequence[Path]) -> None:
        """Read the files of public keys. Raise StartError if one cannot be read or `cryptography` is missing."""
        try:
            from rnnserve.protos.signing.keys import KeyFileError, read_public_key
        except ModuleNotFoundError as missing:
            raise StartError(f"--require-signature {missing_package(missing.name, 'server')}") from missing
        try:
            self._keys = [read_public_key(path) for path in keys]
        except KeyFileError as error:
            raise StartError(f"--require-signature {error}") from error

    def check(
        self, folder: Path, name: str, numbers: Iterable[int], config: bytes, inside: Path | None
    ) -> dict[int, Signed | ArtifactError]:
        """Return, for each version, its signature for this config, or why the version must not serve.

        Raise SignatureError if no version has a valid signature, because then the config must not be parsed.
        """
        found: dict[int, Signed | ArtifactError] = {}
        for number in sorted(numbers, reverse=True):
            try:
                signed = read_signed(folder / str(number), self._keys, inside)
                check_release(signed.release, name, number, config)
                found[number] = signed
            except ArtifactError as error:
                found[number] = error
        if all(isinstance(each, ArtifactError) for each in found.values()):
            raise SignatureError("; ".join(f"version {number}: {reason}" for number, reason in found.items()))
        return found


def open_signature_gate(settings: Settings) -> SignatureGate | None:
    """Make the gate of a server, None if versions need not be signed. Raise StartError if a key cannot be read."""
    return SignatureGate(settings.require_signature) if settings.require_signature else None
