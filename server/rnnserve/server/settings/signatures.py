"""The options of signed versions."""

import dataclasses
from pathlib import Path

from rnnserve.server.settings.option import option
from rnnserve.server.settings.part import SettingsPart

__all__ = ["SignatureSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignatureSettings(SettingsPart):
    """Which versions have to be signed, and by whom.

    Attributes:
        require_signature: Files in PEM with the public keys of which one has to have signed a version that serves;
            empty where versions need not be signed.
        refused_signatures: File with digests and ids of keys that are refused; None for none.
        signature_record: File in which the highest release of each model is kept that has served; None for memory.
        allow_rollback: Let a model go back to an earlier release.
    """

    require_signature: tuple[Path, ...] = dataclasses.field(
        default=(),
        metadata=option(
            "serve only versions that are signed (`rnnserve sign`) with this key: public key in PEM, of the elliptic "
            "curve P-256 or P-384; may be given several times",
            Path,
            metavar="FILE",
            is_repeated=True,
        ),
    )
    refused_signatures: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            "with --require-signature: serve nothing that was revoked; file with a SHA-256 in each line, of a public "
            "key, a signature or a file of a version. It is read again when it has changed",
            Path,
            metavar="FILE",
        ),
    )
    signature_record: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            "with --require-signature: file that keeps, over restarts, the highest sequence number of each model that "
            "has served. Where not given, a restart begins anew",
            Path,
            metavar="FILE",
        ),
    )
    allow_rollback: bool = dataclasses.field(
        default=False,
        metadata=option("with --require-signature: let a model go back to a version with a lower sequence number"),
    )
