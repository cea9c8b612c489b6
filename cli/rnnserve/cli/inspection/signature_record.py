"""A version's signature, and whether it is valid for the version's files."""

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
        signed: The signature's content. None if it is missing or unreadable.
        holds: Whether a given key has signed the folder's content. None without keys.
        problem: Why it is invalid or unreadable, or empty.
    """

    signed: Signed | None = None
    holds: bool | None = None
    problem: str = ""

    def as_fields(self) -> dict[str, Any] | None:
        """Return it as values for JSON. None without a signature and without keys."""
        if self == UNSIGNED:
            return None
        said = {} if self.signed is None else self.signed.as_fields()
        return {**said, "holds": self.holds, "problem": self.problem}


UNSIGNED = SignatureRecord()
"""There is no signature, and no keys were given."""


def read_signature(folder: Path, keys: "Sequence[PublicKey]") -> SignatureRecord:
    """Read a version's signature, and verify it as a server does.

    Args:
        folder: `<repository>/<model>/<version>`.
        keys: Trusted keys. A trusted key must have signed it. Without keys, the signature isn't verified.
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
    """Describe a version's signature. Yields nothing without a signature and without keys."""
    if record.signed is not None:
        release = record.signed.release
        held = {None: "not verified; use --public-key", True: "valid", False: "INVALID"}[record.holds]
        yield f"{held}; signed with the key {record.signed.key_id}"
        yield f"as {release.model} version {release.version}, sequence {release.sequence}, at {release.created}"
        yield f"signature {record.signed.bundle_sha256}"
        yield f"statement {record.signed.statement_sha256}"
    if record.problem:
        yield record.problem
