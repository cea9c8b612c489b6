"""Keys that sign and verify: ECDSA over P-256 with SHA-256, or over P-384 with SHA-384."""

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rnnserve.common.regular_files import read_regular
from rnnserve.protos.artifact import ArtifactError

__all__ = ["KeyFileError", "PrivateKey", "PublicKey", "read_private_key", "read_public_key"]

_HASHES: dict[str, hashes.HashAlgorithm] = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384()}

_MOST_BYTES = 1 << 16


class KeyFileError(ArtifactError):
    """A file without the expected key."""


class PublicKey:
    """A public key.

    Attributes:
        id: SHA-256 of the key in PEM (SubjectPublicKeyInfo), in hexadecimal, as model-signing names keys.
    """

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.id = hashlib.sha256(key.public_bytes(serialization.Encoding.PEM, form)).hexdigest()

    def holds(self, signature: bytes, data: bytes) -> bool:
        """Whether a signature is this key's, of these bytes."""
        try:
            self._key.verify(signature, data, ec.ECDSA(_HASHES[self._key.curve.name]))
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """A private key.

    Attributes:
        public: Its public key.
        id: Id of the public key.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())
        self.id = self.public.id

    def sign(self, data: bytes) -> bytes:
        """Sign bytes."""
        return self._key.sign(data, ec.ECDSA(_HASHES[self._key.curve.name]))


def read_public_key(path: Path) -> PublicKey:
    """Read a public key in PEM.

    Raises:
        KeyFileError: If the file can't be read, or has no key of the curves P-256 and P-384.
    """
    try:
        key = serialization.load_pem_public_key(_content(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: does not hold a public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise KeyFileError(f"{path}: the key is not on the elliptic curve P-256 or P-384")
    return PublicKey(key)


def read_private_key(path: Path, password_file: Path | None = None) -> PrivateKey:
    """Read a private key in PEM.

    Args:
        path: Path of the file.
        password_file: File with the key's password in its first line. None for a key without a password.

    Raises:
        KeyFileError: If a file can't be read or has no key of the curves P-256 and P-384, or the password is wrong.
    """
    password = None if password_file is None else _content(password_file).split(b"\n")[0].rstrip(b"\r")
    try:
        key = serialization.load_pem_private_key(_content(path), password)
    except TypeError as error:
        how = "has a password: add --key-password-file" if password is None else "has no password"
        raise KeyFileError(f"{path}: {how}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        wrong = "" if password is None else ", or has another password"
        raise KeyFileError(f"{path}: does not hold a private key in PEM{wrong}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise KeyFileError(f"{path}: the key is not on the elliptic curve P-256 or P-384")
    return PrivateKey(key)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
