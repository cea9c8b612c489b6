"""The signed content: an in-toto statement with the SHA-256 of each file, as in model-signing 1.1.1.

Its subject has the SHA-256 of all these digests, concatenated in the order of the names. model-signing's own reader
also accepts the predicate of its release 0.2, digests of other algorithms, shards and links. This reader refuses them.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from rnnserve.protos.signing.strict_json import fields_of, load_strictly, text_of

__all__ = ["BUNDLE", "dump_statement", "is_digest", "read_statement"]

BUNDLE = "model.sig"
"""The name of the signature in a version's folder, which model-signing's command also suggests."""

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"

_MOST_FILES = 64

_DIGEST = re.compile("[0-9a-f]{64}")


def is_digest(value: object) -> bool:
    """Whether a value is a SHA-256 in lower-case hexadecimal."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def dump_statement(subject: str, files: Mapping[str, str]) -> bytes:
    """Write the statement.

    Args:
        subject: Name of the folder. It has no meaning: model-signing calls it informative.
        files: SHA-256 of each file, by name.
    """
    files = dict(sorted(files.items()))
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": subject, "digest": {"sha256": _root(files)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [BUNDLE],
            },
            "resources": [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in files.items()],
        },
    }
    return json.dumps(statement, indent=2).encode()


def read_statement(data: bytes) -> dict[str, str]:
    """Read a statement with a verified signature.

    Returns:
        SHA-256 of each file, by name.

    Raises:
        ValueError: If it isn't a valid statement of a version's files.
    """
    statement = fields_of(load_strictly(data), "the statement", ("_type", "subject", "predicateType", "predicate"))
    if statement["_type"] != _STATEMENT:
        raise ValueError("_type is not the type of an in-toto statement of version 1")
    if statement["predicateType"] != _PREDICATE:
        raise ValueError("predicateType is not the type of model-signing 1.0")
    predicate = fields_of(statement["predicate"], "the predicate", ("serialization", "resources"))
    _check_serialization(predicate["serialization"])
    resources = predicate["resources"]
    if not isinstance(resources, list) or not 0 < len(resources) <= _MOST_FILES:
        raise ValueError(f"resources must be a list of 1 to {_MOST_FILES} files")
    files: dict[str, str] = {}
    for name, digest in _resources(resources):
        if name in files:
            raise ValueError(f"resources contain {shortened(name)} twice")
        files[name] = digest
    if _subject_digest(statement["subject"]) != _root(files):
        raise ValueError("the digest of the subject does not match the resources")
    return files


def _check_serialization(value: object) -> None:
    needed = ("method", "hash_type", "allow_symlinks")
    serialization = fields_of(value, "serialization", needed, ("ignore_paths",))
    found = tuple(serialization[name] for name in needed)
    if found != ("files", "sha256", False) or found[2] is not False:
        raise ValueError(f"serialization is {shortened(found)}, expected files, sha256, and no links")
    ignored = serialization.get("ignore_paths", [])
    if not isinstance(ignored, list) or not all(isinstance(path, str) for path in ignored):
        raise ValueError("ignore_paths must be a list of strings")


def _resources(resources: list[Any]) -> Iterator[tuple[str, str]]:
    for resource in resources:
        fields = fields_of(resource, "a resource", ("name", "algorithm", "digest"))
        name = fields["name"]
        if not isinstance(name, str) or not name or Path(name).name != name or name in ("..", BUNDLE) or "\0" in name:
            raise ValueError(f"a resource is named {shortened(name)}; expected a plain file name")
        if fields["algorithm"] != "sha256":
            raise ValueError(f"the digest of {shortened(name)} uses {shortened(fields['algorithm'])}, expected sha256")
        if not is_digest(fields["digest"]):
            raise ValueError(f"the digest of {shortened(name)} is not a SHA-256 in lower-case hexadecimal")
        yield name, fields["digest"]


def _subject_digest(subject: object) -> object:
    if not isinstance(subject, list) or len(subject) != 1:
        raise ValueError("there must be exactly one subject")
    fields = fields_of(subject[0], "the subject", ("name", "digest"))
    text_of(fields["name"], "the subject's name")
    return fields_of(fields["digest"], "the subject's digest", ("sha256",))["sha256"]


def _root(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of all digests, in the listed order."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()
