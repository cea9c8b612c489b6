"""Signatures (--require-signature): which versions are signed with a trusted key. Unsigned ones stay out.

All versions of a model are verified before its config.pbtxt is parsed. From then on each file that is read, in the
process of the load check and in the server, must have the digest that was signed. What a signature is, and reading one,
is in `rnnserve.protos.signing`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rnnserve.common.extras import missing_package
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.signing.signed_version import SignatureError, Signed, check_release, read_signed
from rnnserve.server.errors import StartError
from rnnserve.server.settings import Settings

__all__ = ["SignatureGate", "SignedVersions", "open_signature_gate"]


class SignatureGate:
    """Verifies versions with the trusted keys. Thread-safe."""

    def __init__(self, keys: Sequence[Path]) -> None:
        """Read the files of public keys.

        Raises:
            StartError: If a key cannot be read, or the package `cryptography` is missing.
        """
        try:
            from rnnserve.protos.signing.keys import KeyFileError, read_public_key
        except ModuleNotFoundError as missing:
            raise StartError(f"--require-signature {missing_package(missing.name, 'server')}") from missing
        try:
            self._keys = [read_public_key(path) for path in keys]
        except KeyFileError as error:
            raise StartError(f"--require-signature {error}") from error

    def check(self, folder: Path, name: str, number: int, config: bytes, inside: Path | None) -> Signed:
        """Verify that a version is signed as the one that it is to serve as.

        Args:
            folder: Folder of the version.
            name: Name of the model.
            number: Number of the version.
            config: Bytes of config.pbtxt.
            inside: Folder in which files must lie, after all links; None: anywhere.

        Returns:
            Who has signed what: each file that is loaded must have the digest that was signed.

        Raises:
            SignatureError: If it is not; the message names the file.
        """
        signed = read_signed(folder, self._keys, inside)
        check_release(signed.release, name, number, config)
        return signed


def open_signature_gate(settings: Settings) -> SignatureGate | None:
    """Make the gate of a server; None if versions need not be signed.

    Raises:
        StartError: If a key cannot be read.
    """
    return SignatureGate(settings.require_signature) if settings.require_signature else None


class SignedVersions:
    """The signatures of some models' versions. For one thread, the loader's."""

    def __init__(self, gate: SignatureGate | None) -> None:
        """Begin without versions; the gate is None if they need not be signed."""
        self.gate = gate
        self._signed: dict[tuple[str, int], Signed] = {}
        self._refused: dict[tuple[str, int], str] = {}

    def check(self, folder: Path, name: str, numbers: Iterable[int], inside: Path | None, config: bytes) -> None:
        """Verify a model's versions beside a config; the arguments are those of the gate.

        Raises:
            SignatureError: If none is signed as it has to be, so that the config may not be parsed.
        """
        if self.gate is None:
            return
        refused: dict[int, str] = {}
        numbers = sorted(numbers, reverse=True)
        for number in numbers:
            self._signed.pop((name, number), None)
            try:
                self._signed[name, number] = self.gate.check(folder / str(number), name, number, config, inside)
            except ArtifactError as error:
                refused[number] = str(error)
        self._refused |= {(name, number): reason for number, reason in refused.items()}
        if len(refused) == len(numbers):
            raise SignatureError("; ".join(f"version {number}: {reason}" for number, reason in refused.items()))

    def of(self, name: str, number: int) -> Signed | None:
        """Return what is signed of a version; None if it need not be."""
        return self._signed.get((name, number))

    def files(self, name: str, number: int) -> Mapping[str, str] | None:
        """Return the digests that a version's files must have; None if it need not be signed."""
        if self.gate is None:
            return None
        signed = self.of(name, number)
        return {} if signed is None else signed.files

    def refusal(self, name: str, number: int) -> str:
        """Say why a version is not signed as it has to be; empty if it is."""
        return "" if (name, number) in self._signed else self._refused.get((name, number), "")
