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
