"""What is signed of the versions that are loaded, where they have to be signed; of others nothing is asked.

It is found out for all versions of a model before its config.pbtxt is parsed. From then on each file that is read, in
the process that tries the version and in the server, has to have the digest that was signed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.signing.signed_version import RELEASE, SignatureError, Signed
from rnnserve.server.signing.gate import SignatureGate

__all__ = ["SignedVersions"]


class SignedVersions:
    """The signatures of some models' versions. For one thread, the loader's."""

    def __init__(self, gate: SignatureGate | None) -> None:
        """Begin without versions.

        Args:
            gate: Gate that they have to pass; None where they need not be signed.
        """
        self.gate = gate
        self._signed: dict[tuple[str, int], Signed] = {}
        self._refused: dict[tuple[str, int], str] = {}

    def check(self, folder: Path, name: str, numbers: Iterable[int], inside: Path | None, config: bytes) -> None:
        """Find out which versions of a model are signed as they have to be, beside a config.

        Args:
            folder: Folder of the model.
            name: Name of the model.
            numbers: Numbers of the versions.
            inside: Folder in which files have to lie, after all links; None: anywhere.
            config: Bytes of config.pbtxt.

        Raises:
            SignatureError: If none is, so that the config may not be parsed.
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
        """Give what is signed of a version; None where it need not be."""
        return self._signed.get((name, number))

    def files(self, name: str, number: int) -> Mapping[str, str] | None:
        """Give the digests that the files of a version have to have; None where it need not be signed."""
        if self.gate is None:
            return None
        signed = self.of(name, number)
        return {} if signed is None else signed.files

    def refusal(self, name: str, number: int) -> str:
        """Say why a version is not signed as it has to be; empty where it is."""
        return "" if (name, number) in self._signed else self._refused.get((name, number), "")

    def is_revoked(self, signed: Signed | None) -> bool:
        """Whether what serves may not any more."""
        return self.gate is not None and signed is not None and self.gate.refused_digest(signed) != ""

    def rollback(self, name: str, number: int, others: Iterable[int]) -> str:
        """Say how a model would go back with a version, unless a later one serves beside it; empty where it does not.

        Args:
            name: The model.
            number: The version.
            others: Numbers of the versions that serve, or may come to serve, beside it.
        """
        gate, signed = self.gate, self.of(name, number)
        if gate is None or signed is None:
            return ""
        try:
            highest = gate.highest(name)
        except SignatureError as error:
            return str(error)
        later = (other for each in others if (other := self.of(name, each)) is not None)
        if highest is None or any(each.release.order >= highest for each in (signed, *later)):
            return ""
        sequence, created = signed.release.order
        return (
            f"{RELEASE}: has sequence number {sequence} of {created}, and one of {highest[0]} of {highest[1]} has "
            "served: --allow-rollback lets a model go back"
        )

    def note(self, name: str, served: Iterable[Signed | None]) -> None:
        """Note what serves of a model from now on."""
        found = [signed for signed in served if signed is not None]
        if self.gate is not None and found:
            self.gate.note(name, found)
