"""What `rnnserve doctor` finds of what locks a server: certificates, tokens, keys of sessions, signatures."""

import datetime as dt
import json
import os
import time

import pytest

from kit.rotated_files import RotatedFiles
from kit.signed_versions import make_key, publish_signed, sign
from rnnserve.common.tls_identity import TlsIdentity
from rnnserve.server.access.token_writing import add_token
from rnnserve.server.examining import listening

PORTS = ["--no-http", "--grpc-port", "0", "--provider", "cpu"]


def test_plain_text_beyond_this_machine_is_a_warning(root, tmp_path, examined):
    status, found = examined(root, *PORTS, "--host", "0.0.0.0")
    assert status == 0
    ((level, said),) = found["certificates"]
    assert level == "warning"
    assert "without TLS: all that is sent can be read: give --tls-certificate and --tls-key" in said
    for host, has_tls, warned in (("0.0.0.0", True, 1), ("0.0.0.0", False, 0), ("127.0.0.1", True, 0)):
        options = RotatedFiles(tmp_path / f"tls {host}").options() if has_tls else []
        status, found = examined(root, *PORTS, "--host", host, "--metrics-port", "0", *options)
        assert status == 0
        told = [said for level, said in found["ports"] if level == "warning"]
        assert len(told) == warned
        assert all("--metrics-port is without TLS" in said for said in told)


def test_certificates_that_end_or_do_not_fit_are_told(root, tmp_path, examined):
    rotated = RotatedFiles(tmp_path / "tls", mutual=True)
    words = [root, *PORTS, *rotated.options()]
    rotated.files.key.chmod(0o600)
    status, found = examined(*words)
    assert (status, [level for level, _ in found["certificates"]]) == (0, ["ok", "ok"])
    rotated.files.key.chmod(0o644)
    status, found = examined(*words)
    assert (status, [level for level, _ in found["certificates"]]) == (0, ["ok", "ok", "warning"])
    rotated.files.key.chmod(0o600)
    now = dt.datetime.now(dt.UTC)
    rotated.replace(*rotated.issued(not_before=now - dt.timedelta(1), not_after=now + dt.timedelta(13)))
    status, found = examined(*words)
    assert (status, found["certificates"][0][0]) == (0, "warning")
    rotated.replace(*rotated.issued(not_before=now - dt.timedelta(9), not_after=now - dt.timedelta(1)))
    status, found = examined(*words)
    assert (status, found["certificates"][0][0]) == (1, "problem")
    assert "certificate has expired" in found["certificates"][0][1]
    rotated.replace(key=rotated.issued()[1])
    status, found = examined(*words)
    assert status == 1
    assert "KEY_VALUES_MISMATCH" in found["certificates"][0][1]


def test_authority_of_clients_that_ends_is_a_warning(root, tmp_path, examined, monkeypatch):
    rotated = RotatedFiles(tmp_path / "tls", mutual=True)
    rotated.files.key.chmod(0o600)
    for ends, level, said in ((20, "ok", "in 20 days"), (13, "warning", "in 13 days"), (-1, "warning", "has ended at")):
        end = time.time() + ends * 86400 + 60
        monkeypatch.setattr(listening, "certificate_end", lambda _, end=end: end)  # an identity asks elsewhere
        status, found = examined(root, *PORTS, *rotated.options())
        assert status == 0
        (of_authority,) = [each for each in found["certificates"] if "--tls-client-ca" in each[1]]
        assert of_authority[0] == level
        assert said in of_authority[1]


def test_key_that_goes_while_it_is_looked_at_is_a_problem(root, tmp_path, examined, monkeypatch):
    """What cannot be looked at is a finding, and no traceback."""
    rotated = RotatedFiles(tmp_path / "tls")
    flaw = TlsIdentity.flaw

    def gone(identity, files):
        files.key.unlink()
        return flaw(identity, files)

    monkeypatch.setattr(TlsIdentity, "flaw", gone)
    status, found = examined(root, *PORTS, *rotated.options())
    assert (status, found["certificates"][-1][0]) == (1, "problem")
    assert "No such file" in found["certificates"][-1][1]


def in_days(days):
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days)).replace(microsecond=0)


@pytest.fixture
def tokens(tmp_path):
    """The file of tokens, without any."""
    file = tmp_path / "tokens.toml"
    file.touch(0o600)
    return file


def test_access_without_tokens_is_told(root, tmp_path, examined):
    status, found = examined(root, *PORTS)
    assert (status, found["access"][0][0]) == (0, "ok")
    assert "every user of this machine may do all" in found["access"][0][1]
    status, found = examined(root, *PORTS, "--host", "0.0.0.0")
    assert (status, found["access"][0][0]) == (0, "warning")
    assert "may do all that the server does: give --tokens" in found["access"][0][1]
    rotated = RotatedFiles(tmp_path / "tls", mutual=True)
    status, found = examined(root, *PORTS, "--host", "0.0.0.0", *rotated.options())
    assert (status, found["access"][0][0]) == (0, "ok")


def test_valid_tokens_are_counted_by_role(root, tokens, examined):
    for name, role in (("a", "infer"), ("b", "infer"), ("c", "metrics"), ("d", "admin")):
        add_token(tokens, name, role)
    add_token(tokens, "e", "admin", not_after=in_days(15))
    status, found = examined(root, *PORTS, "--tokens", tokens)
    assert status == 0
    assert found["access"] == [
        ("ok", f"{tokens} admits 2 of the role admin, 2 of the role infer, 1 of the role metrics: ")
    ]


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ([], "lets nobody in: it has no token that holds"),
        ([("infer", -1)], "lets nobody in: it has no token that holds"),
        ([("infer", -1), ("metrics", 20)], "may ask a model"),
    ],
)
def test_tokens_that_let_nobody_ask_are_a_problem(root, tokens, examined, roles, said):
    for at, (role, days) in enumerate(roles):
        add_token(tokens, f"token-{at}", role, not_after=in_days(days))
    status, found = examined(root, *PORTS, "--tokens", tokens)
    assert status == 1
    (told,) = [text for level, text in found["access"] if level == "problem"]
    assert said in told
    assert f"rnnserve token new --tokens {tokens}" in told


def test_tokens_that_have_ended_or_end_soon_are_a_warning(root, tokens, examined):
    add_token(tokens, "holds", "infer", not_after=in_days(15))
    add_token(tokens, "ended", "infer", not_after=in_days(-2))
    add_token(tokens, "soon", "infer", not_after=in_days(13.5))
    status, found = examined(root, *PORTS, "--tokens", tokens)
    assert status == 0
    assert [(level, text.split()[0]) for level, text in found["access"]] == [
        ("warning", "[ended]"),
        ("warning", "[soon]"),
        ("ok", str(tokens)),
    ]
    assert f"rnnserve token revoke --tokens {tokens} --name ended" in found["access"][0][1]
    assert "in 13 days" in found["access"][1][1]


def test_client_roles_that_have_ended_or_are_wrong_are_told(root, tmp_path, examined):
    options = [
        *PORTS,
        *RotatedFiles(tmp_path / "tls", mutual=True).options(),
        "--client-roles",
        tmp_path / "roles.toml",
    ]
    roles = options[-1]
    roles.write_text('[a]\nsubject = "CN=a"\nrole = "infer"\n[b]\nsubject = "dns:b"\nrole = "metrics"\n')
    status, found = examined(root, *options)
    assert (status, found["access"]) == (0, [("ok", f"{roles} admits 1 of the role infer, 1 of the role metrics: ")])
    roles.write_text(f'[a]\nsubject = "CN=a"\nrole = "infer"\nnot_after = {in_days(-1).isoformat()}\n')
    status, found = examined(root, *options)
    assert (status, [level for level, _ in found["access"]]) == (1, ["warning", "problem"])
    assert found["access"][0][1].endswith(": take it out")
    assert found["access"][1][1].endswith("lets nobody in: it has no row that holds: add a row")
    roles.write_text('[a]\nsubject = ""\nrole = "infer"\n')
    status, found = examined(root, *options)
    assert (status, found["access"][0][0]) == (1, "problem")
    status, found = examined(root, *options, "--metrics-port", "0")
    assert (status, found["access"][0][0]) == (1, "problem")
    assert "--metrics-port is without TLS" in found["access"][0][1]


def test_token_file_that_others_may_change_is_told(root, tokens, examined):
    add_token(tokens, "a", "infer")
    tokens.chmod(0o660)
    status, found = examined(root, *PORTS, "--tokens", tokens)
    assert (status, found["access"][0]) == (
        0,
        ("warning", f"all of its group may write {tokens}, and so let themselves in: chmod g-w {tokens}"),
    )
    tokens.chmod(0o644)
    status, found = examined(root, *PORTS, "--tokens", tokens)
    assert (status, [level for level, _ in found["access"]]) == (1, ["problem"])
    assert "chmod o-rw" in found["access"][0][1]
    tokens.chmod(0o600)
    tokens.write_text("[a]\nrole = 3\n")
    status, found = examined(root, *PORTS, "--tokens", tokens)
    assert status == 1
    assert f"{tokens}:1: [a] sha256 is missing" in found["access"][0][1]
    tokens.unlink()
    status, found = examined(root, *PORTS, "--tokens", tokens)
    assert (status, found["access"][0][0]) == (1, "problem")


def test_bad_session_key_is_a_problem(root, tmp_path, examined):
    (tmp_path / "key").write_bytes(os.urandom(32))
    (tmp_path / "key").chmod(0o600)
    status, found = examined(root, *PORTS, "--session-key", tmp_path / "key")
    assert (status, found["session key"][0][0]) == (0, "ok")
    (tmp_path / "key").write_bytes(b"short")
    status, found = examined(root, *PORTS, "--session-key", tmp_path / "key")
    assert (status, found["session key"][0][0]) == (1, "problem")


def test_versions_without_a_required_signature_are_told(root, tmp_path, examined):
    status, found = examined(root, *PORTS)
    assert found["signatures"][0][0] == "ok"
    key = make_key(tmp_path, "ours")
    words = [root, *PORTS, "--require-signature", key.public]
    status, found = examined(*words)
    assert status == 1
    assert ("ok", True) in [(level, key.key.id in said) for level, said in found["signatures"]]
    (said,) = [said for level, said in found["repository"] if said.startswith("scale")]
    assert "version 1: model.sig: the version is not signed" in said
    sign(root / "scale" / "1", key)
    status, found = examined(*words)
    assert status == 0
    assert [(level, said.split(";")[0]) for level, said in found["repository"]] == [
        ("ok", "scale: would serve version 1")
    ]


def test_versions_that_would_be_refused_are_a_warning_beside_a_newer_one(tmp_path, examined):
    key, stranger = make_key(tmp_path, "ours"), make_key(tmp_path, "stranger")
    root = tmp_path / "repository"
    for version, signer in ((1, key), (2, stranger), (3, key)):
        publish_signed(root, signer, version=version)
    status, found = examined(root, *PORTS, "--require-signature", key.public)
    assert status == 0
    (told,) = [said for level, said in found["signatures"] if level == "warning"]
    assert told.startswith("good: would refuse version 2, should it be wanted: model.sig: is signed with the key ")
    assert stranger.key.id in told
    refused = tmp_path / "refused"
    refused.write_text(f"{key.key.id}\n")
    status, found = examined(root, *PORTS, "--require-signature", key.public, "--refused-signatures", refused)
    assert status == 1
    assert any("was revoked" in said for _, said in found["repository"])


def test_bad_signature_key_is_a_problem(root, tmp_path, examined):
    status, found = examined(root, *PORTS, "--require-signature", tmp_path / "none.pub")
    assert status == 1
    assert [level for level, _ in found["signatures"]] == ["problem"]
    assert "none.pub: cannot be read" in found["signatures"][0][1]
    assert found["repository"] == [("problem", "is not looked at before that is mended: all of it would be refused: ")]
    status, found = examined(root, *PORTS, "--allow-rollback")
    assert (status, found["signatures"][0][0]) == (1, "problem")


def test_signature_record_is_read_and_not_written(tmp_path, examined):
    """It would be the file of whoever looks, which the server could not write."""
    key = make_key(tmp_path, "ours")
    publish_signed(tmp_path / "repository", key)
    (tmp_path / "state").mkdir()
    record = tmp_path / "state" / "record.json"
    words = [tmp_path / "repository", *PORTS, "--require-signature", key.public, "--signature-record", record]
    status, found = examined(*words)
    assert status == 0
    assert list(record.parent.iterdir()) == []
    record.write_text("{}")
    status, found = examined(*words)
    assert (status, found["signatures"][0][0]) == (1, "problem")
    assert "no record of releases" in found["signatures"][0][1]
    record.write_text(json.dumps({"models": {"good": [7, "2026-01-01T00:00:00Z"]}}))
    status, found = examined(*words)
    assert status == 1
    assert any("has sequence number 1" in said for _, said in found["repository"])
    status, found = examined(*words, "--allow-rollback")
    assert status == 0
    assert ("warning", True) in [(level, "--allow-rollback" in said) for level, said in found["signatures"]]


def test_signature_record_that_cannot_be_written_is_a_problem(tmp_path, examined):
    key = make_key(tmp_path, "ours")
    publish_signed(tmp_path / "repository", key)
    record = tmp_path / "nowhere" / "record.json"
    words = [tmp_path / "repository", *PORTS, "--require-signature", key.public, "--signature-record", record]
    status, found = examined(*words)
    assert status == 1
    (said,) = [said for level, said in found["signatures"] if level == "problem"]
    assert "cannot be written by this user" in said
