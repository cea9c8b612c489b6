"""The corpus of tamperings: each turns a signed version into one that no server may load, and names what is said."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kit.signed_versions import KeyPair, rewrite_bundle, sign, sign_payload, statement_of
from rnnserve.protos.signing.signed_version import BUNDLE, RELEASE

__all__ = ["TAMPERINGS", "Tampering"]


class Tampering(NamedTuple):
    """A way to tamper with a version.

    Attributes:
        apply: Function of the version's folder, the key that has signed it, and another key.
        said: What the refusal has to say.
    """

    apply: Callable[[Path, KeyPair, KeyPair], object]
    said: str


def _with_statement(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, KeyPair, KeyPair], None]:
    """Sign another statement with the right key."""

    def apply(folder: Path, key: KeyPair, _: KeyPair) -> None:
        statement = statement_of(folder)
        change(statement)
        _set_root(statement)
        sign_payload(folder, key, statement)

    return apply


def _with_bundle(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, KeyPair, KeyPair], None]:
    return lambda folder, *_: rewrite_bundle(folder, change)


def _envelope(**changes: object) -> Callable[[Path, KeyPair, KeyPair], None]:
    return _with_bundle(lambda bundle: bundle["dsseEnvelope"].update(changes))


def _hint(**changes: object) -> Callable[[Path, KeyPair, KeyPair], None]:
    return _with_bundle(lambda bundle: bundle["verificationMaterial"].update(publicKey=changes))


def _bundle(**changes: object) -> Callable[[Path, KeyPair, KeyPair], None]:
    return _with_bundle(lambda bundle: bundle.update(changes))


def _resource(**changes: str) -> Callable[[Path, KeyPair, KeyPair], None]:
    return _with_statement(lambda statement: _resources(statement)[0].update(changes))


def _serialization(**changes: object) -> Callable[[Path, KeyPair, KeyPair], None]:
    return _with_statement(lambda statement: statement["predicate"]["serialization"].update(changes))


def _set_root(statement: dict[str, Any]) -> None:
    """Let the digest of the subject be that of the resources, so that it is not what is refused."""
    resources = statement.get("predicate", {}).get("resources", [])
    digests = b"".join(bytes.fromhex(resource["digest"]) for resource in resources)
    statement["subject"][0]["digest"] = {"sha256": hashlib.sha256(digests).hexdigest()}


def _resources(statement: dict[str, Any]) -> list[dict[str, str]]:
    return statement["predicate"]["resources"]


def _sign_encoded(encoded: Callable[[bytes], bytes]) -> Callable[[Path, KeyPair, KeyPair], None]:
    """Sign with the right key, but another encoding of the payload."""

    def apply(folder: Path, key: KeyPair, _: KeyPair) -> None:
        def change(bundle: dict[str, Any]) -> None:
            envelope = bundle["dsseEnvelope"]
            payload = base64.b64decode(envelope["payload"])
            envelope["signatures"][0]["sig"] = base64.b64encode(key.key.sign(encoded(payload))).decode()

        rewrite_bundle(folder, change)

    return apply


def _twice(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def _write(name: str, data: bytes) -> Callable[[Path, KeyPair, KeyPair], None]:
    return lambda folder, *_: (folder / name).write_bytes(data)


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


def _change_release(name: str, value: object) -> Callable[[Path, KeyPair, KeyPair], None]:
    """Sign a release in which a field is something else."""

    def apply(folder: Path, key: KeyPair, _: KeyPair) -> None:
        release = json.loads((folder / RELEASE).read_bytes())
        if value is None:
            del release[name]
        else:
            release[name] = value
        data = json.dumps(release).encode()
        (folder / RELEASE).write_bytes(data)
        statement = statement_of(folder)
        for resource in _resources(statement):
            if resource["name"] == RELEASE:
                resource["digest"] = hashlib.sha256(data).hexdigest()
        _set_root(statement)
        sign_payload(folder, key, statement)

    return apply


def _more_than_a_list_of_files(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"] = [
        {"name": f"{number}", "algorithm": "sha256", "digest": "0" * 64} for number in range(65)
    ]


_V02 = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://model_signing/Digests/v0.1"}


def _v02(folder: Path, key: KeyPair, _: KeyPair) -> None:
    subject = [
        {"name": resource["name"], "digest": {"sha256": resource["digest"]}}
        for resource in _resources(statement_of(folder))
    ]
    sign_payload(folder, key, {**_V02, "subject": subject, "predicate": {"unused": "Unused, just passed due to API"}})


TAMPERINGS = {
    "unsigned": Tampering(lambda folder, *_: (folder / BUNDLE).unlink(), "model.sig: the version is not signed"),
    "signed by a stranger": Tampering(lambda folder, _, other: sign(folder, other), "not a trusted key"),
    "signed by a stranger under the other's id": Tampering(
        lambda folder, key, other: (
            sign(folder, other),
            rewrite_bundle(
                folder, lambda bundle: bundle["verificationMaterial"].update(publicKey={"hint": key.key.id})
            ),
        ),
        "the signature does not match the key",
    ),
    "payload signed without its encoding": Tampering(_sign_encoded(bytes), "the signature does not match the key"),
    "two signatures": Tampering(_with_bundle(_twice), "must have exactly one signature"),
    "key id of another key": Tampering(
        _with_bundle(lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(keyid="0" * 64)), "names two keys"
    ),
    "no key id": Tampering(_hint(), "publicKey has no hint"),
    "key id null": Tampering(_hint(hint=None), "the hint of publicKey is not a SHA-256"),
    "key id that writes into the log": Tampering(
        _hint(hint="x\n\x1b[2JERROR"), "the hint of publicKey is not a SHA-256"
    ),
    "field as long as a book": Tampering(_bundle(**{"x" * 900_000: 0}), "which is not allowed there"),
    "certificate in place of a key": Tampering(
        _bundle(verificationMaterial={"certificate": {"rawBytes": ""}}), "verificationMaterial has no publicKey"
    ),
    "another payload type": Tampering(_envelope(payloadType="application/json"), "payloadType is not"),
    "bundle of version 0.2": Tampering(
        _bundle(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"), "mediaType is not"
    ),
    "predicate of model-signing 0.2": Tampering(_v02, "predicateType is not"),
    "base64 in another spelling": Tampering(
        _with_bundle(
            lambda bundle: bundle["dsseEnvelope"].update(payload=bundle["dsseEnvelope"]["payload"].rstrip("=") + "\n")
        ),
        "payload is not base64",
    ),
    "100 MB": Tampering(_sparse, "the limit is 1,048,576"),
    "a key twice": Tampering(_doubled_key, "contains a key twice"),
    "something after the end": Tampering(
        lambda folder, *_: (folder / BUNDLE).write_text((folder / BUNDLE).read_text() + "{}"), "Extra data"
    ),
    "NaN": Tampering(_write(BUNDLE, b'{"mediaType": NaN}'), "NaN is not JSON"),
    "nested deeply": Tampering(_write(BUNDLE, b"[" * (1 << 19)), "nested too deeply"),
    "a long number": Tampering(_write(BUNDLE, b"1" * 5000), "model.sig: "),
    "no UTF-8": Tampering(_write(BUNDLE, b"\xff"), "can't decode byte"),
    "no object": Tampering(_write(BUNDLE, b"[]"), "the bundle is not an object"),
    "an unknown field": Tampering(_bundle(more=1), "the bundle has 'more'"),
    "a folder in place of the bundle": Tampering(_hard_to_read, "model.sig: cannot be read: Is a directory"),
    "digest of another algorithm": Tampering(_resource(algorithm="blake2b"), "expected sha256"),
    "digest in upper case": Tampering(_resource(digest="A" * 64), "is not a SHA-256"),
    "a resource twice": Tampering(
        _with_statement(lambda statement: _resources(statement).append(_resources(statement)[0])), "twice"
    ),
    "a resource outside": Tampering(_resource(name="../x"), "expected a plain file name"),
    "the bundle as its own resource": Tampering(_resource(name=BUNDLE), "expected a plain file name"),
    "too many resources": Tampering(_with_statement(_more_than_a_list_of_files), "be a list of 1 to 64 files"),
    "a manifest that is not signed": Tampering(
        _with_statement(
            lambda statement: statement["predicate"].update(
                resources=[each for each in _resources(statement) if each["name"] != "manifest.json"]
            )
        ),
        "must both be signed",
    ),
    "shards": Tampering(_serialization(method="shards"), "expected files, sha256, and no links"),
    "two subjects": Tampering(
        _with_statement(lambda statement: statement.update(subject=statement["subject"] * 2)), "exactly one subject"
    ),
    "digest of the subject": Tampering(
        lambda folder, key, _: sign_payload(
            folder, key, {**statement_of(folder), "subject": [{"name": "1", "digest": {"sha256": "0" * 64}}]}
        ),
        "does not match the resources",
    ),
    "statement of another type": Tampering(
        _with_statement(lambda statement: statement.update(_type="https://in-toto.io/Statement/v0.1")), "_type is not"
    ),
    "release of another model": Tampering(_change_release("model", "other"), 'release.json: belongs to "other"'),
    "release of another number": Tampering(_change_release("version", 2), "belongs to"),
    "release with a text as its number": Tampering(_change_release("version", "1"), "version is not an integer"),
    "release with a truth as its number": Tampering(_change_release("version", True), "version is not an integer"),
    "release without a sequence number": Tampering(_change_release("sequence", None), "the release has no sequence"),
    "release with a sequence number below 0": Tampering(_change_release("sequence", -1), "sequence is not an integer"),
    "release with a time of its own": Tampering(_change_release("created", "tomorrow"), "created is not a time"),
    "release with an unknown field": Tampering(_change_release("more", 1), "the release has 'more'"),
    "release of another format": Tampering(_change_release("format", 2), "its format is not 1"),
    "release changed": Tampering(_write(RELEASE, b"{}"), "release.json: has changed since it was signed"),
    "a file added": Tampering(_write("more.txt", b""), "more.txt: is not among the files that were signed"),
    "a file removed": Tampering(lambda folder, *_: (folder / "golden.npz").unlink(), "golden.npz: is missing"),
    "a file emptied": Tampering(_write("model.onnx", b""), "model.onnx: has changed since it was signed"),
    "a file that is a link": Tampering(_link, "golden.npz: is a link"),
    "a folder added": Tampering(lambda folder, *_: (folder / ".git").mkdir(), ".git: is a folder"),
    "config changed": Tampering(
        lambda folder, *_: (folder.parent / "config.pbtxt").write_text("# changed"),
        "config.pbtxt: has changed since version 1 was signed",
    ),
}
