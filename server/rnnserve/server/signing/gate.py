"""The gate: which signed versions may serve. Nothing of a version is parsed before it has passed."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from rnnserve.common.extras import missing_package
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.signing.signed_version import SignatureError, Signed, check_release, read_signed
from rnnserve.server.errors import StartError
from rnnserve.server.settings.signatures import SignatureSettings
from rnnserve.server.signing.highest_releases import HighestReleases, Order
from rnnserve.server.signing.refused_signatures import RefusedSignatures

__all__ = ["SignatureGate", "open_gate"]

_log = logging.getLogger(__name__)


class SignatureGate:
    """Decides which versions may serve, where they have to be signed. One thread loads, any may ask."""

    def __init__(
        self,
        keys: Sequence[Path],
        refused: RefusedSignatures | None = None,
        highest: HighestReleases | None = None,
        *,
        allow_rollback: bool = False,
    ) -> None:
        """Read the keys.

        Args:
            keys: Files with the public keys that are trusted.
            refused: List of what is refused nevertheless; None for nothing.
            highest: Record of what has served of each model; None for an empty one.
            allow_rollback: Whether a model may go back to an earlier release.

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
        self._refused = refused
        self._highest = highest or HighestReleases()
        self._allow_rollback = allow_rollback
        self._refused_before = frozenset[str]() if refused is None else refused.version

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that are trusted, in their order."""
        return tuple(key.id for key in self._keys)

    def check(self, folder: Path, name: str, number: int, config: bytes, inside: Path | None) -> Signed:
        """Check that a version is signed as the one that it is to serve as.

        Args:
            folder: Folder of the version.
            name: Name of the model.
            number: Number of the version.
            config: Bytes of config.pbtxt.
            inside: Folder in which files have to lie, after all links; None: anywhere.

        Returns:
            Who has signed what. Each file that is loaded has to have the digest that was signed.

        Raises:
            SignatureError: If it is not, or its signature is refused; the message names the file.
        """
        signed = read_signed(folder, self._keys, inside)
        refused = self.refused_digest(signed)
        if refused:
            raise SignatureError(f"{refused} is among --refused-signatures: what it names was revoked")
        check_release(signed.release, name, number, config)
        return signed

    def refused_digest(self, signed: Signed) -> str:
        """Give the digest for which a signature is refused; empty where it is not."""
        if self._refused is None:
            return ""
        return self._refused.found_in(
            (signed.key_id, signed.bundle_sha256, signed.statement_sha256, *signed.files.values())
        )

    def refusals_have_changed(self) -> bool:
        """Whether other signatures are refused than when this was asked last."""
        if self._refused is None or self._refused.version == self._refused_before:
            return False
        self._refused_before = self._refused.version
        return True

    def highest(self, name: str) -> Order | None:
        """Give the release of a model that it may not go back behind; None where it may go anywhere.

        Raises:
            SignatureError: If it cannot be found out.
        """
        return None if self._allow_rollback else self._highest.of(name)

    def note(self, name: str, served: Iterable[Signed]) -> None:
        """Note what serves of a model from now on; one of its versions at least."""
        order = max(signed.release.order for signed in served)
        try:
            self._highest.note(name, order, may_go_back=self._allow_rollback)
        except (OSError, ArtifactError) as error:
            _log.error("what serves of %s is noted by this process alone: %s", name, error)


def open_gate(settings: SignatureSettings, *, will_serve: bool = True) -> SignatureGate | None:
    """Make the gate of a server; None where versions need not be signed.

    Args:
        settings: Settings of the server.
        will_serve: Whether versions come to serve, so that the record has to be such that it can be written; where they
            do not, nothing is written.

    Raises:
        StartError: If a file cannot be read, or an option is given that is of no use without another.
    """
    if not settings.require_signature:
        for name in ("refused_signatures", "signature_record", "allow_rollback"):
            if getattr(settings, name):
                raise StartError(f"--{name.replace('_', '-')} needs --require-signature: no signature is looked at")
        return None
    highest = HighestReleases(settings.signature_record)
    try:
        highest.check(is_written=will_serve)
    except OSError as error:
        raise StartError(f"--signature-record {settings.signature_record}: cannot be written: {error}") from error
    except SignatureError as error:
        raise StartError(f"{error} ({settings.signature_record})") from error
    refused = None if settings.refused_signatures is None else RefusedSignatures(settings.refused_signatures)
    return SignatureGate(settings.require_signature, refused, highest, allow_rollback=settings.allow_rollback)
