"""`rnnserve token` writes the file whole, for its user alone, and leaves what else stands there as it is."""

import datetime as dt
import errno
import hashlib
import os
import re
import stat

import pytest

from rnnserve.cli import main
from rnnserve.server.access.access_file import AccessFileError
from rnnserve.server.access.token_writing import add_token, listed_tokens, revoke_token


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.toml"


def test_a_token_is_printed_alone_and_is_not_in_the_file(path, capsys):
    arguments = ["token", "new", f"--tokens={path}", "--name=a", "--role=infer", "--models=m,n"]
    assert main([*arguments, "--not-after=2031-02-03"]) == 0
    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    assert re.fullmatch(r"rnn_[A-Za-z0-9_-]{43}", token)
    assert not printed.err
    assert token not in path.read_text()
    assert token[4:] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (found,) = listed_tokens(path)
    assert found.key == hashlib.sha256(token.encode()).digest()
    assert (found.name, found.role, found.models) == ("a", "infer", frozenset("mn"))
    assert found.not_after == dt.datetime(2031, 2, 3, tzinfo=dt.UTC).timestamp()
    assert main(["token", "list", f"--tokens={path}"]) == 0
    assert capsys.readouterr().out == "a  infer  models m,n  not after 2031-02-03T00:00:00+00:00\n"
    assert main(["token", "revoke", f"--tokens={path}", "--name=a"]) == 0
    assert listed_tokens(path) == []
    assert path.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["new", "--name=a", "--role=root"],
        ["new", "--name=a"],
        ["new", "--name=a", "--role=infer", "--models=../m"],
        ["new", "--name=a", "--role=infer", "--models="],
        ["new", "--name=a", "--role=infer", "--not-after=soon"],
        ["new", "--name=a", "--role=infer", "--not-after=2030-01-01T00:00:00"],
        ["remove"],
    ],
)
def test_wrong_arguments_make_no_token(path, arguments):
    with pytest.raises(SystemExit):
        main(["token", *arguments, f"--tokens={path}"])
    assert not path.exists()


def test_what_stands_there_stays(path):
    add_token(path, "a", "infer")
    path.write_text(f"# of ours\n{path.read_text()}rate = 5 # slowly\n\n# the next\n")
    add_token(path, "b", "admin")
    text = path.read_text()
    assert "# of ours" in text
    assert "rate = 5 # slowly" in text
    with pytest.raises(AccessFileError, match="has a token b already"):
        add_token(path, "b", "admin")
    assert path.read_text() == text
    revoke_token(path, "b")
    assert path.read_text() == text[: text.index("[b]")]
    with pytest.raises(AccessFileError, match="has no token b"):
        revoke_token(path, "b")
    revoke_token(path, "a")
    assert listed_tokens(path) == []


def test_a_table_of_another_form_is_left_to_its_writer(path):
    path.touch(0o600)
    path.write_text(f"a = {{sha256 = '{'ab' * 32}', role = 'infer'}}\n")
    with pytest.raises(AccessFileError, match="by hand"):
        revoke_token(path, "a")
    assert [token.name for token in listed_tokens(path)] == ["a"]


def test_a_link_stays_a_link(path, tmp_path):
    path.symlink_to(tmp_path / "real.toml")
    add_token(path, "a", "infer")
    assert path.is_symlink()
    assert [token.name for token in listed_tokens(tmp_path / "real.toml")] == ["a"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["real.toml", "tokens.toml"]


def test_nothing_is_written_into_a_file_that_cannot_be_used(path):
    path.touch(0o600)
    path.write_text("[a]\nrole = 'infer'\n")
    for change in (lambda: add_token(path, "b", "infer"), lambda: revoke_token(path, "a")):
        with pytest.raises(AccessFileError, match="sha256 is missing"):
            change()
    assert path.read_text() == "[a]\nrole = 'infer'\n"
    with pytest.raises(AccessFileError, match="cannot be written"):
        add_token(path.parent / "none" / "t.toml", "b", "infer")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o400])
def test_who_may_read_the_file_stays(tmp_path, mode):
    path = tmp_path / "tokens.toml"
    add_token(path, "one", "infer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(mode)
    add_token(path, "two", "infer")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    revoke_token(path, "one")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_whose_the_file_is_stays(tmp_path):
    path = tmp_path / "tokens.toml"
    add_token(path, "one", "infer")
    os.chown(path, 65534, 65534)
    path.chmod(0o640)
    add_token(path, "two", "infer")
    assert (path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (65534, 65534, 0o640)


def test_a_file_of_somebody_else_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "tokens.toml"
    add_token(path, "one", "infer")
    before = path.read_text()

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(AccessFileError, match="cannot be written: Operation not permitted"):
        add_token(path, "two", "infer")
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
