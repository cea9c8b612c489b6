"""Who has signed a version, and whether that holds for its files."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.signing.signed_version import BUNDLE, Signed, read_claim, read_signed_in_place

if TYPE_CHECKING:
    from rnnserve.protos.signing.keys import PublicKey

__all__ = ["UNSIGNED", "SignatureRecord", "read_signature", "signature_in_words"]


@dataclasses.dataclass(frozen=True)
class SignatureRecord:
    """The signature of a version.

    Attributes:
        signed: What it says; None where there is none, or it cannot be read.
        holds: Whether one of the keys has signed what the folder holds; None where no key was given.
        problem: Why it does not hold, or cannot be read; empty otherwise.
    """

    signed: Signed | None = None
    holds: bool | None = None
    problem: str = ""

    def as_fields(self) -> dict[str, Any] | None:
        """Give it as values for JSON; None where there is no signature, and no key was given."""
        if self == UNSIGNED:
            return None
        said = {} if self.signed is None else self.signed.as_fields()
        return {**said, "holds": self.holds, "problem": self.problem}


UNSIGNED = SignatureRecord()
"""There is no signature, and none was asked for."""


def read_signature(folder: Path, keys: "Sequence[PublicKey]") -> SignatureRecord:
    """Read a version's signature, and verify it as a server does.

    Args:
        folder: `<repository>/<model>/<version>`.
        keys: Keys of which one has to have signed it; none to tell only what it says.
    """
    try:
        claim = read_claim(folder) if (folder / BUNDLE).exists() else None
    except ArtifactError as error:
        return SignatureRecord(None, False if keys else None, str(error))
    if not keys:
        return SignatureRecord(claim)
    try:
        signed = read_signed_in_place(folder, keys)
        read_version(folder, keep=(), signed=signed.files)
    except ArtifactError as error:
        return SignatureRecord(claim, False, str(error))
    return SignatureRecord(signed, True)


def signature_in_words(record: SignatureRecord) -> Iterator[str]:
    """Say who has signed a version; nothing where there is no signature, and no key was given."""
    if record.signed is not None:
        release = record.signed.release
        held = {None: "not verified: --public-key does that", True: "holds", False: "DOES NOT HOLD"}[record.holds]
        yield f"{held}; by the key {record.signed.key_id}"
        yield f"as {release.model} version {release.version}, sequence {release.sequence}, at {release.created}"
        yield f"signature {record.signed.bundle_sha256}"
        yield f"statement {record.signed.statement_sha256}"
    if record.problem:
        yield record.problem
