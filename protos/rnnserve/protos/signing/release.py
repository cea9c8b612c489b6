"""`release.json`: the identity of a released version. It is signed like its other files.

The manifest has the model's name but no version number, and config.pbtxt lies outside of the version's folder. Without
this file, an attacker could restore a signed version as another model, under another number, with another config, or
after a newer version.
"""

import dataclasses
import json
import re
from typing import Self

from rnnserve.protos.names import is_model_name
from rnnserve.protos.signing.statement import is_digest
from rnnserve.protos.signing.strict_json import fields_of, load_strictly

__all__ = ["RELEASE", "Release"]

RELEASE = "release.json"

_FORMAT = 1
_MOST = (1 << 63) - 1
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Release:
    """The identity of a released version.

    Attributes:
        model: The model's name.
        version: The version's number.
        sequence: A number that never decreases from one release of the model to the next.
        created: When it was signed, in UTC: 2026-11-28T14:05:09Z.
        config_sha256: SHA-256 of config.pbtxt.
    """

    model: str
    version: int
    sequence: int
    created: str
    config_sha256: str

    def dump(self) -> bytes:
        """Write the file. Equal releases give equal bytes."""
        return json.dumps({"format": _FORMAT, **vars(self)}, indent=2, sort_keys=True).encode() + b"\n"

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read the file.

        Raises:
            ValueError: If it isn't a valid release.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        fields = fields_of(load_strictly(data), "the release", ("format", *names))
        if fields.pop("format") != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT}")
        release = cls(**fields)
        if not isinstance(release.model, str) or not is_model_name(release.model):
            raise ValueError("model is not a valid model name")
        for name in ("version", "sequence"):
            number = fields[name]
            if type(number) is not int or not 0 <= number <= _MOST:
                raise ValueError(f"{name} is not an integer from 0 to {_MOST}")
        if not isinstance(release.created, str) or not _TIME.fullmatch(release.created):
            raise ValueError("created is not a time of the form 2026-11-28T14:05:09Z")
        if not is_digest(release.config_sha256):
            raise ValueError("config_sha256 is not a SHA-256")
        return release
