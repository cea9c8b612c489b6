"""The file of tokens: its rows, its mistakes with table and key, and how `rnnserve token` changes it."""

import datetime as dt
import errno
import hashlib
import os
import re
import stat
from pathlib import Path

import pytest

from rnnserve.cli import main
from rnnserve.server.access.access_file import (
    TOKENS,
    AccessFileError,
    add_token,
    listed_tokens,
    read_content,
    read_rows,
    revoke_token,
)

DIGEST = "ab" * 32
PLAIN = f'sha256 = "{DIGEST}"\nrole = "infer"\n'

WRONG = [
    (f"[a]\n{PLAIN}modells = []\n", "modells: unknown key"),
    (f"[b]\nrole = 'infer'\nsha256 = '{'cd' * 32}'\n[a]\n{PLAIN}models = 1\n", "models: expected a list"),
    (f"[a]\n{PLAIN}in_flight = 3\n", "in_flight: token limits were removed"),
    (f"[a]\n{PLAIN}models = 'm'\n", "models: expected a list"),
    (f"[a]\n{PLAIN}models = ['../m']\n", "models: expected a list"),
    (f"[a]\n{PLAIN}not_after = 2030-01-01\n", "not_after: expected a date and time"),
    (f"[a]\n{PLAIN}not_after = 2030-01-01T00:00:00\n", "not_after: expected a date and time"),
    (f"[a]\nsha256 = '{DIGEST}'\nrole = 'root'\n", "role: expected one of infer, admin, metrics"),
    (f"[a]\nsha256 = '{DIGEST.upper()}'\nrole = 'infer'\n", "sha256: expected 64 hexadecimal digits"),
    ("[a]\nrole = 'infer'\n", "sha256 is missing"),
    (f"[a]\nsha256 = '{DIGEST}'\n", "role is missing"),
    (f"\n['a b']\n{PLAIN}", "expected a name of 1 to 64 letters"),
    ("a = 1\n", "expected a table"),
    (f"[a]\n{PLAIN}[b]\n{PLAIN}", "sha256: [a] has the same"),
]


def read(text):
    return read_rows(text.encode(), Path("t.toml"), TOKENS)


def test_wrong_row_is_refused_with_its_table_and_key():
    for text, said in WRONG:
        with pytest.raises(AccessFileError, match=r"^t\.toml: \[\w") as refused:
            read(text)
        assert said in str(refused.value)


def test_file_that_is_not_toml_is_refused():
    for content in (b"[a", b"[a]\n[a]\n", b"\xff"):
        with pytest.raises(AccessFileError, match=r"t\.toml"):
            read_rows(content, Path("t.toml"), TOKENS)


def test_file_readable_by_everybody_is_refused(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text("")
    for mode in (0o604, 0o602, 0o644, 0o666, 0o777):
        path.chmod(mode)
        with pytest.raises(AccessFileError, match=r"is accessible to every user of this machine; run chmod o-rw"):
            read_content(path, TOKENS)
    path.chmod(0o640)
    assert read_content(path, TOKENS) == b""


def test_path_without_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe"):
        with pytest.raises(AccessFileError, match="the file of tokens"):
            read_content(path, TOKENS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.toml"


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_token_is_printed_alone_listed_and_revoked(path, capsys):
    arguments = ["token", "new", f"--tokens={path}", "--name=a", "--role=infer", "--models=m,n"]
    assert main([*arguments, "--not-after=2031-02-03"]) == 0
    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    assert re.fullmatch(r"rnn_[A-Za-z0-9_-]{43}", token)
    assert not printed.err
    assert token[4:] not in path.read_text()
    assert mode_of(path) == 0o600
    (found,) = listed_tokens(path)
    assert found.key == hashlib.sha256(token.encode()).digest()
    assert (found.name, found.role, found.models) == ("a", "infer", frozenset("mn"))
    assert found.not_after == dt.datetime(2031, 2, 3, tzinfo=dt.UTC).timestamp()
    assert main(["token", "list", f"--tokens={path}"]) == 0
    assert capsys.readouterr().out == "a  infer  models m,n  not after 2031-02-03T00:00:00+00:00\n"
    assert main(["token", "revoke", f"--tokens={path}", "--name=a"]) == 0
    assert listed_tokens(path) == []
    assert path.exists()


def test_wrong_arguments_make_no_token(path):
    plain = ["new", "--name=a", "--role=infer"]
    for arguments in (
        ["new", "--name=a", "--role=root"],
        ["new", "--name=a"],
        [*plain, "--models=../m"],
        [*plain, "--models="],
        [*plain, "--not-after=soon"],
        [*plain, "--not-after=2030-01-01T00:00:00"],
        ["remove"],
    ):
        with pytest.raises(SystemExit):
            main(["token", *arguments, f"--tokens={path}"])
        assert not path.exists()


def test_changes_keep_comments_and_other_rows(path):
    add_token(path, "a", "infer")
    path.write_text(f"# of ours\n{path.read_text()}models = ['m'] # few\n\n# the next\n")
    add_token(path, "b", "admin")
    text = path.read_text()
    assert "# of ours" in text
    assert "models = ['m'] # few" in text
    with pytest.raises(AccessFileError, match="already has a token b"):
        add_token(path, "b", "admin")
    assert path.read_text() == text
    revoke_token(path, "b")
    assert path.read_text() == text[: text.index("[b]")]
    with pytest.raises(AccessFileError, match="has no token b"):
        revoke_token(path, "b")
    revoke_token(path, "a")
    assert path.read_text() == "# of ours\n\n# the next\n\n"


def test_inline_table_must_be_edited_by_hand(path):
    path.touch(0o600)
    path.write_text(f"a = {{sha256 = '{'ab' * 32}', role = 'infer'}}\n")
    with pytest.raises(AccessFileError, match="by hand"):
        revoke_token(path, "a")
    assert [token.name for token in listed_tokens(path)] == ["a"]


def test_symbolic_link_is_kept_when_the_file_changes(path, tmp_path):
    path.symlink_to(tmp_path / "real.toml")
    add_token(path, "a", "infer")
    assert path.is_symlink()
    assert [token.name for token in listed_tokens(tmp_path / "real.toml")] == ["a"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["real.toml", "tokens.toml"]


def test_file_keeps_its_owner_and_mode(path):
    add_token(path, "one", "infer")
    for number, mode in enumerate((0o600, 0o640, 0o660, 0o400)):
        path.chmod(mode)
        add_token(path, f"two{number}", "infer")
        assert mode_of(path) == mode
        revoke_token(path, f"two{number}")
        assert mode_of(path) == mode
    if os.geteuid() == 0:  # only root gives files to others
        os.chown(path, 65534, 65534)
        add_token(path, "three", "infer")
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


def test_file_is_unchanged_when_its_owner_cannot_be_kept(path, monkeypatch):
    add_token(path, "one", "infer")
    before = path.read_text()

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(AccessFileError, match=r"cannot write the token file .*: Operation not permitted"):
        add_token(path, "two", "infer")
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]
