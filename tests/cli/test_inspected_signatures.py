"""What `rnnserve inspect` says of signatures."""

import json
import re

import pytest

from kit.bad_versions import publish_good
from kit.signature_tamperings import TAMPERINGS
from kit.signed_versions import make_key, publish_signed
from rnnserve.cli import main


@pytest.fixture
def keys(tmp_path):
    return make_key(tmp_path, "ours"), make_key(tmp_path, "stranger")


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "repository"


def inspected(repository, capsys, *more):
    """The exit status, the lines about the signature, and the same as JSON."""
    status = main(["inspect", str(repository), *more])
    text = capsys.readouterr().out
    assert main(["inspect", str(repository), "--json", *more]) == status
    (report,) = json.loads(capsys.readouterr().out)
    found = re.search(r"^  signed    (.*(?:\n            .*)*)", text, re.MULTILINE)
    lines = [] if found is None else [line.strip() for line in found[1].splitlines()]
    return status, lines, report.get("signature")


def test_unsigned_version_is_reported(repository, keys, capsys):
    publish_good(repository)
    assert inspected(repository, capsys) == (0, [], None)
    status, (line,), report = inspected(repository, capsys, "--public-key", str(keys[0].public))
    assert (status, report["holds"], report["problem"]) == (1, False, line)
    assert line == "model.sig: the version is not signed; sign it with `rnnserve sign`"


def test_signed_version_is_verified_with_a_public_key(repository, keys, capsys):
    publish_signed(repository, keys[0], sequence=3)
    status, lines, report = inspected(repository, capsys)
    assert (status, report["holds"], report["problem"]) == (0, None, "")
    assert lines[0] == f"not verified; use --public-key; signed with the key {keys[0].key.id}"
    assert lines[1] == f"as good version 1, sequence 3, at {report['created']}"
    more = [word for key in keys for word in ("--public-key", str(key.public))]
    status, lines, verified = inspected(repository, capsys, *more)
    assert (status, verified) == (0, report | {"holds": True})
    assert lines[0] == f"valid; signed with the key {keys[0].key.id}"
    assert lines[2:] == [f"signature {report['bundle_sha256']}", f"statement {report['statement_sha256']}"]


@pytest.mark.parametrize(
    "name", ["signed by a stranger", "key id of another key", "digest in upper case", "release changed", "a file added"]
)
def test_tampered_version_fails_verification(repository, keys, capsys, name):
    TAMPERINGS[name].apply(publish_signed(repository, keys[0]), *keys)
    assert main(["inspect", str(repository), "--json", "--public-key", str(keys[0].public)]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert not report["signature"]["holds"]
    assert TAMPERINGS[name].said in report["signature"]["problem"]
