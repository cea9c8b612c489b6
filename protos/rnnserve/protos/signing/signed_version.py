"""A version's folder and its signature: signs versions and reads signatures.

::

    <repository>/<model>/<version>/release.json, model.sig

The manifest lists neither file. So signing doesn't change the manifest, and readers can ignore signatures.
"""

import dataclasses
import datetime as dt
import hashlib
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rnnserve.common.regular_files import LeadsOutError, read_blocks, read_regular
from rnnserve.protos.artifact import MANIFEST, ArtifactError
from rnnserve.protos.names import version_number
from rnnserve.protos.signing.bundle import SigningKey, TrustedKey, dump_bundle, open_bundle, signer_of
from rnnserve.protos.signing.release import RELEASE, Release
from rnnserve.protos.signing.statement import BUNDLE, dump_statement, is_digest, read_statement
from rnnserve.protos.triton_config import CONFIG

__all__ = [
    "BUNDLE",
    "RELEASE",
    "Release",
    "SignatureError",
    "Signed",
    "check_folder",
    "check_release",
    "is_digest",
    "read_claim",
    "read_signed",
    "read_signed_in_place",
    "sign_version",
    "write_release",
]

_MOST_BUNDLE_BYTES = 1 << 20
_MOST_RELEASE_BYTES = 1 << 16
_MOST_CONFIG_BYTES = 1 << 20
_MOST_FILE_BYTES = 16 << 30
_MOST_ENTRIES = 65


class SignatureError(ArtifactError):
    """A version without a valid signature. The message begins with the name of the wrong file."""


@dataclasses.dataclass(frozen=True)
class Signed:
    """A signature: the key and the signed content.

    Attributes:
        key_id: Id of the key.
        release: The identity of the released version.
        files: SHA-256 of each file except the bundle, by name.
        bundle_sha256: SHA-256 of the bundle.
        statement_sha256: SHA-256 of the signed statement. A bundle has several valid encodings, but a statement has
            one.
    """

    key_id: str
    release: Release
    files: Mapping[str, str]
    bundle_sha256: str
    statement_sha256: str

    def as_fields(self) -> dict[str, str | int]:
        """Return its public fields without the files' digests."""
        digests = {"bundle_sha256": self.bundle_sha256, "statement_sha256": self.statement_sha256}
        return {"key_id": self.key_id, **vars(self.release), **digests}


def check_folder(folder: Path, number: int | None = None) -> int:
    """Return the number of a version's folder.

    Args:
        folder: `<repository>/<model>/<version>`.
        number: Number of the version; None for the name of its folder.

    Raises:
        SignatureError: If it isn't a version's folder.
    """
    number = version_number(folder.absolute().name) if number is None else number
    if number is None or not (folder / MANIFEST).is_file():
        raise SignatureError(
            f"{folder}: is not the folder of a version; expected a path such as repository/sentiment/1"
        )
    return number


def write_release(
    folder: Path,
    *,
    number: int | None = None,
    sequence: int | None = None,
    now: dt.datetime | None = None,
) -> Release:
    """Write or replace a version's release.json, after which the version can be signed.

    Args:
        folder: `<repository>/<model>/<version>`.
        number: Number of the version; None for the name of its folder.
        sequence: Number of the release, which never decreases. None for the version's number.
        now: Time of the release; None for now.

    Raises:
        SignatureError: If it isn't a version's folder, or its config is missing.
        OSError: If it cannot be written.
    """
    number = check_folder(folder, number)
    folder = folder.absolute()
    config = _config_beside(folder)
    release = Release(
        folder.parent.name,
        number,
        number if sequence is None else sequence,
        (now or dt.datetime.now(dt.UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        hashlib.sha256(config).hexdigest(),
    )
    with _said_of(RELEASE):
        Release.read(release.dump())  # what no reader would take is not written
    _replace(folder / RELEASE, release.dump())
    return release


def sign_version(folder: Path, key: SigningKey) -> Signed:
    """Sign a version that has a release.json. An earlier signature is replaced.

    Args:
        folder: `<repository>/<model>/<version>`.
        key: The key.

    Raises:
        SignatureError: If release.json is missing, or the folder has entries other than files.
        OSError: If it cannot be read or written.
    """
    with _said_of(RELEASE):
        release = Release.read(read_regular(folder / RELEASE, _MOST_RELEASE_BYTES))
    files = {name: _digest_of(folder / name) for name in _files_in(folder) if name != BUNDLE}
    with _said_of(BUNDLE):
        bundle = dump_bundle(dump_statement(str(release.version), files), key)
        read_statement(signer_of(bundle)[1])  # the same
    _replace(folder / BUNDLE, bundle)
    return read_claim(folder)


def read_signed(folder: Path, keys: Iterable[TrustedKey], inside: Path | None = None) -> Signed:
    """Read and verify a version's signature, and check that its folder has only the signed files.

    Only the digest of release.json is compared with the statement. `read_version` compares the files it reads.

    Args:
        folder: Folder of the version.
        keys: Keys, of which one has to have signed it.
        inside: Folder that must contain the files, after all links. None: anywhere.

    Raises:
        SignatureError: If no key has signed it, or its files differ.
    """
    signed = _read(folder, lambda bundle: open_bundle(bundle, keys), inside)
    _check_names(folder, signed.files)
    return signed


def read_signed_in_place(folder: Path, keys: Iterable[TrustedKey], number: int | None = None) -> Signed:
    """Read a signature as `read_signed` does, and check that the version was released for its folder.

    Args:
        folder: `<repository>/<model>/<version>`.
        keys: Keys, of which one has to have signed it.
        number: Number of the version; None for the name of its folder.

    Raises:
        SignatureError: If no key has signed it, its files differ, or it was released for another folder.
    """
    folder = folder.absolute()
    signed = read_signed(folder, keys)
    check_release(
        signed.release, folder.parent.name, int(folder.name) if number is None else number, _config_beside(folder)
    )
    return signed


def read_claim(folder: Path) -> Signed:
    """Read a version's signature without verifying it.

    Raises:
        SignatureError: If it cannot be read.
    """
    return _read(folder, lambda bundle: signer_of(bundle)[1], None)


def check_release(release: Release, model: str, version: int, config: bytes) -> None:
    """Check that a version has the model, number and config it was released with.

    Args:
        release: Release that was signed.
        model: The model's name.
        version: The version's number.
        config: Bytes of config.pbtxt.

    Raises:
        SignatureError: If it was released as another model or version, or with another config.
    """
    if (release.model, release.version) != (model, version):
        raise SignatureError(
            f'{RELEASE}: belongs to "{release.model}" version {release.version}, but is in the folder of "{model}" '
            f"version {version}"
        )
    if hashlib.sha256(config).hexdigest() != release.config_sha256:
        raise SignatureError(
            f"{CONFIG}: has changed since version {version} was signed; run `rnnserve sign` to sign the version again"
        )


def _config_beside(folder: Path) -> bytes:
    """Read the config in the folder of a version's model."""
    with _said_of(CONFIG):
        return read_regular(folder.parent / CONFIG, _MOST_CONFIG_BYTES)


def _read(folder: Path, open_: Callable[[bytes], bytes], inside: Path | None) -> Signed:
    with _said_of(BUNDLE):
        bundle = read_regular(folder / BUNDLE, _MOST_BUNDLE_BYTES, inside)
        payload = open_(bundle)
        files = read_statement(payload)
        if RELEASE not in files or MANIFEST not in files:
            raise ValueError(f"{MANIFEST} and {RELEASE} must both be signed; `rnnserve sign` writes {RELEASE}")
    with _said_of(RELEASE):
        data = read_regular(folder / RELEASE, _MOST_RELEASE_BYTES, inside)
        if hashlib.sha256(data).hexdigest() != files[RELEASE]:
            raise ValueError("has changed since it was signed")
        release = Release.read(data)
    digests = (hashlib.sha256(data).hexdigest() for data in (bundle, payload))
    return Signed(signer_of(bundle)[0], release, files, *digests)


def _check_names(folder: Path, files: Collection[str]) -> None:
    """Check that a version's folder has exactly these files and its bundle, and no links."""
    with _said_of(BUNDLE):
        found = set(_files_in(folder))
    for name in sorted(found ^ {*files, BUNDLE}):
        raise SignatureError(f"{name}: {'is missing' if name in files else 'was not signed with the version'}")


def _files_in(folder: Path) -> list[str]:
    """Name the files of a version's folder, which must have only regular files.

    Raises:
        SignatureError: If an entry is a folder, a link or a device, or there are too many.
        OSError: If the folder cannot be read.
    """
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                kind = "link" if entry.is_symlink() else "folder" if entry.is_dir() else "special file"
                raise SignatureError(f"{entry.name}: is a {kind}, which a signed version must not contain")
            names.append(entry.name)
            if len(names) > _MOST_ENTRIES:
                raise SignatureError(f"{entry.name}: is one file too many; a version can have at most {_MOST_ENTRIES}")
    return names


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    for block in read_blocks(path, _MOST_FILE_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _replace(path: Path, data: bytes) -> None:
    """Replace a version's file atomically: a server sees either the old or the new file.

    The new file is written outside of the version's folder, so a killed process leaves no extra file in it.
    """
    written = path.parent.parent / f".{path.name}-{secrets.token_hex(8)}"
    try:
        with written.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


@contextmanager
def _said_of(name: str) -> Iterator[None]:
    """Turn what reading a file raises into a SignatureError, which names the file and not its path."""
    try:
        yield
    except SignatureError:
        raise
    except FileNotFoundError:
        how = "the version is not signed; sign it with `rnnserve sign`" if name == BUNDLE else "is missing"
        raise SignatureError(f"{name}: {how}") from None
    except LeadsOutError as error:
        raise SignatureError(f"{name}: {error.strerror}") from error
    except OSError as error:
        raise SignatureError(f"{name}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SignatureError(f"{name}: {error}") from error
