"""The corpus of tamperings: each turns a signed version into one that no server may load, and names what is said."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kit.signed_versions import KeyPair, rewrite_bundle, sign, sign_payload, statement_of
from rnnserve.protos.signing.signed_version import BUNDLE, RELEASE

Apply = Callable[[Path, KeyPair, KeyPair], object]


class Tampering(NamedTuple):
    """A way to tamper with a version.

    Attributes:
        apply: Function of the version's folder, the key that has signed it, and another key.
        said: What the refusal has to say.
    """

    apply: Apply
    said: str


def _put(value: object, *path: str | int) -> Callable[[Any], None]:
    """What puts a value at a place of JSON, or what a function makes of the value there. None takes it away."""

    def change(data: Any) -> None:
        *outer, last = path
        for name in outer:
            data = data[name]
        data[last] = value(data[last]) if callable(value) else value
        if value is None:
            del data[last]

    return change


def _bundle(value: object, *path: str | int) -> Apply:
    """Change the bundle, which nobody signs."""
    return lambda folder, *_: rewrite_bundle(folder, _put(value, *path))


def _statement(value: object, *path: str | int) -> Apply:
    """Sign another statement with the right key."""

    def apply(folder: Path, key: KeyPair, _: KeyPair) -> None:
        statement = statement_of(folder)
        _put(value, *path)(statement)
        # The digest of the subject is that of the resources, so that it is not what is refused.
        resources = statement.get("predicate", {}).get("resources", [])
        digests = b"".join(bytes.fromhex(resource["digest"]) for resource in resources)
        statement["subject"][0]["digest"] = {"sha256": hashlib.sha256(digests).hexdigest()}
        sign_payload(folder, key, statement)

    return apply


def _release(name: str, value: object) -> Apply:
    """Sign a release in which a field is something else."""

    def apply(folder: Path, key: KeyPair, other: KeyPair) -> None:
        release = json.loads((folder / RELEASE).read_bytes())
        _put(value, name)(release)
        data = json.dumps(release).encode()
        (folder / RELEASE).write_bytes(data)
        names = [resource["name"] for resource in statement_of(folder)["predicate"]["resources"]]
        _statement(hashlib.sha256(data).hexdigest(), *_RESOURCES, names.index(RELEASE), "digest")(folder, key, other)

    return apply


def _write(name: str, data: bytes) -> Apply:
    return lambda folder, *_: (folder / name).write_bytes(data)


def _sign_bare_payload(folder: Path, key: KeyPair, _: KeyPair) -> None:
    payload = base64.b64decode(json.loads((folder / BUNDLE).read_bytes())["dsseEnvelope"]["payload"])
    signature = base64.b64encode(key.key.sign(payload)).decode()
    rewrite_bundle(folder, _put(signature, "dsseEnvelope", "signatures", 0, "sig"))


def _sign_under_the_key_of(folder: Path, key: KeyPair, other: KeyPair) -> None:
    sign(folder, other)
    rewrite_bundle(folder, _put({"hint": key.key.id}, "verificationMaterial", "publicKey"))


def _link(folder: Path, *_: KeyPair) -> None:
    (folder / "golden.npz").rename(folder.parent / "golden.npz")
    (folder / "golden.npz").symlink_to(folder.parent / "golden.npz")


def _hard_to_read(folder: Path, *_: KeyPair) -> None:
    (folder / BUNDLE).unlink()
    (folder / BUNDLE).mkdir()


def _sparse(folder: Path, *_: KeyPair) -> None:
    with (folder / BUNDLE).open("ab") as file:
        file.truncate(100 << 20)


def _doubled_key(folder: Path, *_: KeyPair) -> None:
    text = (folder / BUNDLE).read_text()
    (folder / BUNDLE).write_text(text.replace('{"mediaType"', '{"mediaType": "x", "mediaType"', 1))


def _other_subject(folder: Path, key: KeyPair, _: KeyPair) -> None:
    sign_payload(folder, key, statement_of(folder) | {"subject": [{"name": "1", "digest": {"sha256": "0" * 64}}]})


_RESOURCES = "predicate", "resources"
_V02 = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://model_signing/Digests/v0.1"}


def _v02(folder: Path, key: KeyPair, _: KeyPair) -> None:
    subject = [
        {"name": resource["name"], "digest": {"sha256": resource["digest"]}}
        for resource in statement_of(folder)["predicate"]["resources"]
    ]
    sign_payload(folder, key, {**_V02, "subject": subject, "predicate": {"unused": "Unused, just passed due to API"}})


_ROWS: dict[str, tuple[Apply, str]] = {
    "unsigned": (lambda folder, *_: (folder / BUNDLE).unlink(), "model.sig: the version is not signed"),
    "signed by a stranger": (lambda folder, _, other: sign(folder, other), "not a trusted key"),
    "signed by a stranger under the other's id": (_sign_under_the_key_of, "the signature does not match the key"),
    "payload signed without its encoding": (_sign_bare_payload, "the signature does not match the key"),
    "two signatures": (
        _bundle(lambda those: those * 2, "dsseEnvelope", "signatures"),
        "must have exactly one signature",
    ),
    "key id of another key": (_bundle("0" * 64, "dsseEnvelope", "signatures", 0, "keyid"), "names two keys"),
    "no key id": (_bundle({}, "verificationMaterial", "publicKey"), "publicKey has no hint"),
    "key id null": (
        _bundle({"hint": None}, "verificationMaterial", "publicKey"),
        "the hint of publicKey is not a SHA-256",
    ),
    "key id that writes into the log": (
        _bundle("x\n\x1b[2JERROR", "verificationMaterial", "publicKey", "hint"),
        "the hint of publicKey is not a SHA-256",
    ),
    "field as long as a book": (_bundle(0, "x" * 900_000), "which is not allowed there"),
    "certificate in place of a key": (
        _bundle({"certificate": {"rawBytes": ""}}, "verificationMaterial"),
        "verificationMaterial has no publicKey",
    ),
    "another payload type": (_bundle("application/json", "dsseEnvelope", "payloadType"), "payloadType is not"),
    "bundle of version 0.2": (
        _bundle("application/vnd.dev.sigstore.bundle+json;version=0.2", "mediaType"),
        "mediaType is not",
    ),
    "predicate of model-signing 0.2": (_v02, "predicateType is not"),
    "base64 in another spelling": (
        _bundle(lambda payload: payload.rstrip("=") + "\n", "dsseEnvelope", "payload"),
        "payload is not base64",
    ),
    "100 MB": (_sparse, "the limit is 1,048,576"),
    "a key twice": (_doubled_key, "contains a key twice"),
    "something after the end": (
        lambda folder, *_: (folder / BUNDLE).write_text((folder / BUNDLE).read_text() + "{}"),
        "Extra data",
    ),
    "NaN": (_write(BUNDLE, b'{"mediaType": NaN}'), "NaN is not JSON"),
    "nested deeply": (_write(BUNDLE, b"[" * (1 << 19)), "nested too deeply"),
    "a long number": (_write(BUNDLE, b"1" * 5000), "model.sig: "),
    "no UTF-8": (_write(BUNDLE, b"\xff"), "can't decode byte"),
    "no object": (_write(BUNDLE, b"[]"), "the bundle is not an object"),
    "an unknown field": (_bundle(1, "more"), "the bundle has 'more'"),
    "a folder in place of the bundle": (_hard_to_read, "model.sig: cannot be read: Is a directory"),
    "digest of another algorithm": (_statement("blake2b", *_RESOURCES, 0, "algorithm"), "expected sha256"),
    "digest in upper case": (_statement("A" * 64, *_RESOURCES, 0, "digest"), "is not a SHA-256"),
    "a resource twice": (_statement(lambda listed: [*listed, listed[0]], *_RESOURCES), "twice"),
    "a resource outside": (_statement("../x", *_RESOURCES, 0, "name"), "expected a plain file name"),
    "the bundle as its own resource": (_statement(BUNDLE, *_RESOURCES, 0, "name"), "expected a plain file name"),
    "too many resources": (
        _statement(
            [{"name": f"{number}", "algorithm": "sha256", "digest": "0" * 64} for number in range(65)], *_RESOURCES
        ),
        "be a list of 1 to 64 files",
    ),
    "a manifest that is not signed": (
        _statement(lambda listed: [each for each in listed if each["name"] != "manifest.json"], *_RESOURCES),
        "must both be signed",
    ),
    "shards": (_statement("shards", "predicate", "serialization", "method"), "expected files, sha256, and no links"),
    "two subjects": (_statement(lambda subject: subject * 2, "subject"), "exactly one subject"),
    "digest of the subject": (_other_subject, "does not match the resources"),
    "statement of another type": (_statement("https://in-toto.io/Statement/v0.1", "_type"), "_type is not"),
    "release of another model": (_release("model", "other"), 'release.json: belongs to "other"'),
    "release of another number": (_release("version", 2), "belongs to"),
    "release with a text as its number": (_release("version", "1"), "version is not an integer"),
    "release with a truth as its number": (_release("version", True), "version is not an integer"),
    "release without a sequence number": (_release("sequence", None), "the release has no sequence"),
    "release with a sequence number below 0": (_release("sequence", -1), "sequence is not an integer"),
    "release with a time of its own": (_release("created", "tomorrow"), "created is not a time"),
    "release with an unknown field": (_release("more", 1), "the release has 'more'"),
    "release of another format": (_release("format", 2), "its format is not 1"),
    "release changed": (_write(RELEASE, b"{}"), "release.json: has changed since it was signed"),
    "a file added": (_write("more.txt", b""), "more.txt: was not signed with the version"),
    "a file removed": (lambda folder, *_: (folder / "golden.npz").unlink(), "golden.npz: is missing"),
    "a file emptied": (_write("model.onnx", b""), "model.onnx: has changed since it was signed"),
    "a file that is a link": (_link, "golden.npz: is a link"),
    "a folder added": (lambda folder, *_: (folder / ".git").mkdir(), ".git: is a folder"),
    "config changed": (
        lambda folder, *_: (folder.parent / "config.pbtxt").write_text("# changed"),
        "config.pbtxt: has changed since version 1 was signed",
    ),
}
TAMPERINGS = {name: Tampering(*row) for name, row in _ROWS.items()}
