"""The bundle around a signed payload: Sigstore's JSON (v0.3) with one DSSE envelope and the id of the key.

The signature covers the payload's pre-authentication encoding (DSSE 1.0), which also has its type and length. Only one
reading is accepted: one signature, canonical base64, and no unknown field. The payload is parsed only after its
signature is verified.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Protocol

from rnnserve.protos.signing.statement import is_digest
from rnnserve.protos.signing.strict_json import fields_of, load_strictly

__all__ = ["Signer", "SigningKey", "TrustedKey", "dump_bundle", "open_bundle", "signer_of"]

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"


class Signer(Protocol):
    """A key that can be identified."""

    @property
    def id(self) -> str:
        """SHA-256 of the public key in PEM, in hexadecimal."""


class TrustedKey(Signer, Protocol):
    """A public key."""

    def holds(self, signature: bytes, data: bytes) -> bool:
        """Whether a signature is this key's, of these bytes."""


class SigningKey(Signer, Protocol):
    """A private key."""

    def sign(self, data: bytes) -> bytes:
        """Sign bytes."""


def dump_bundle(payload: bytes, key: SigningKey) -> bytes:
    """Sign a payload."""
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.id}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(key.sign(_encoded(payload))).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle).encode()


def open_bundle(data: bytes, keys: Iterable[TrustedKey]) -> bytes:
    """Return a bundle's payload after verifying its signature with the key that the bundle names.

    Raises:
        ValueError: If it isn't a bundle with one signature, or none of the keys has signed it.
    """
    signer, payload, signature = _parts(data)
    key = next((key for key in keys if key.id == signer), None)
    if key is None:
        raise ValueError(f"is signed with the key {signer}, which is not a trusted key")
    if not key.holds(signature, _encoded(payload)):
        raise ValueError(f"the signature does not match the key {signer}")
    return payload


def signer_of(data: bytes) -> tuple[str, bytes]:
    """Return the key id and the payload of a bundle, without verifying them.

    Raises:
        ValueError: If it isn't a bundle with one signature.
    """
    return _parts(data)[:2]


def _parts(data: bytes) -> tuple[str, bytes, bytes]:
    """Return the key id, the payload and the signature of a bundle."""
    bundle = fields_of(load_strictly(data), "the bundle", ("mediaType", "verificationMaterial", "dsseEnvelope"))
    if bundle["mediaType"] != _MEDIA_TYPE:
        raise ValueError("mediaType is not the type of a Sigstore bundle of version 0.3")
    material = fields_of(bundle["verificationMaterial"], "verificationMaterial", ("publicKey",), ("tlogEntries",))
    if material.get("tlogEntries", []) != []:
        raise ValueError("the bundle has entries of a transparency log, which rnnserve cannot verify")
    signer = fields_of(material["publicKey"], "publicKey", ("hint",))["hint"]
    if not is_digest(signer):  # error messages repeat it, and its text is untrusted
        raise ValueError("the hint of publicKey is not a SHA-256 in lower-case hexadecimal")
    envelope = fields_of(bundle["dsseEnvelope"], "dsseEnvelope", ("payload", "payloadType", "signatures"))
    if envelope["payloadType"] != _PAYLOAD_TYPE:
        raise ValueError("payloadType is not the type of an in-toto statement")
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise ValueError("must have exactly one signature")
    signature = fields_of(signatures[0], "the signature", ("sig",), ("keyid",))
    if signature.get("keyid", "") not in ("", signer):
        raise ValueError("names two keys: keyid differs from the key of verificationMaterial")
    return signer, _bytes_of(envelope["payload"], "payload"), _bytes_of(signature["sig"], "sig")


def _encoded(payload: bytes) -> bytes:
    """Return the pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _bytes_of(text: object, name: str) -> bytes:
    """Read canonical base64."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data or base64.b64encode(data).decode() != text:
        raise ValueError(f"{name} is not base64")
    return data
