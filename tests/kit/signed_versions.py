"""Signed versions of a small model, the keys that sign them, and ways to tamper with a signature."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kit.bad_versions import publish_good
from rnnserve.protos.signing.bundle import dump_bundle
from rnnserve.protos.signing.keys import PrivateKey, read_private_key
from rnnserve.protos.signing.signed_version import BUNDLE, Signed, sign_version, write_release


class KeyPair(NamedTuple):
    """Files of a key, and the key."""

    private: Path
    public: Path
    key: PrivateKey


def make_key(folder: Path, name: str, curve: ec.EllipticCurve | None = None, password: bytes | None = None) -> KeyPair:
    """Write a new key into two files."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    encryption = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    pem = serialization.Encoding.PEM
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    password_file = None
    if password is not None:
        password_file = folder / f"{name}.password"
        password_file.write_bytes(password + b"\n")
    return KeyPair(private, public, read_private_key(private, password_file))


def sign(folder: Path, key: KeyPair, **more: Any) -> Signed:
    """Release and sign a version."""
    write_release(folder, **more)
    return sign_version(folder, key.key)


def publish_signed(repository: Path, key: KeyPair, name: str = "good", version: int = 1, **more: Any) -> Path:
    """Publish a version that serves, signed."""
    folder = publish_good(repository, name, version)
    sign(folder, key, **more)
    return folder


def signed_by(*keys: KeyPair) -> dict[str, Any]:
    """Settings of a server that serves what one of the keys has signed, all of it, and loads it again on demand."""
    public = tuple(key.public for key in keys)
    return {"require_signature": public, "model_control": "explicit", "load_model": "*"}


def serving_versions(server: Any, name: str = "good") -> list[int]:
    """The versions of a model that a `Server` serves."""
    return [int(each.model.version) for each in server._repository.served() if each.model.name == name]


def rewrite_bundle(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a version's bundle."""
    bundle = json.loads((folder / BUNDLE).read_bytes())
    change(bundle)
    (folder / BUNDLE).write_text(json.dumps(bundle))


def statement_of(folder: Path) -> dict[str, Any]:
    """The statement in a version's bundle."""
    return json.loads(base64.b64decode(json.loads((folder / BUNDLE).read_bytes())["dsseEnvelope"]["payload"]))


def sign_payload(folder: Path, key: KeyPair, payload: object) -> None:
    """Sign any statement, as one who has the key may."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    (folder / BUNDLE).write_bytes(dump_bundle(data, key.key))
