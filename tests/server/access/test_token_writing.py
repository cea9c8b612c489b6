"""`rnnserve token` writes the file whole, for its user alone, and leaves everything else in it as it is."""

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


def test_other_text_in_the_file_stays(path):
    add_token(path, "a", "infer")
    path.write_text(f"# of ours\n{path.read_text()}models = ['m'] # few\n\n# the next\n")
    add_token(path, "b", "admin")
    text = path.read_text()
    assert "# of ours" in text
    assert "models = ['m'] # few" in text
    with pytest.raises(AccessFileError, match="has a token b already"):
        add_token(path, "b", "admin")
    assert path.read_text() == text
    revoke_token(path, "b")
    assert path.read_text() == text[: text.index("[b]")]
    with pytest.raises(AccessFileError, match="has no token b"):
        revoke_token(path, "b")
    revoke_token(path, "a")
    assert listed_tokens(path) == []


def test_table_of_another_form_is_left_to_its_writer(path):
    path.touch(0o600)
    path.write_text(f"a = {{sha256 = '{'ab' * 32}', role = 'infer'}}\n")
    with pytest.raises(AccessFileError, match="by hand"):
        revoke_token(path, "a")
    assert [token.name for token in listed_tokens(path)] == ["a"]


def test_link_stays_a_link(path, tmp_path):
    path.symlink_to(tmp_path / "real.toml")
    add_token(path, "a", "infer")
    assert path.is_symlink()
    assert [token.name for token in listed_tokens(tmp_path / "real.toml")] == ["a"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["real.toml", "tokens.toml"]


def test_unusable_file_is_not_written(path):
    path.touch(0o600)
    path.write_text("[a]\nrole = 'infer'\n")
    for change in (lambda: add_token(path, "b", "infer"), lambda: revoke_token(path, "a")):
        with pytest.raises(AccessFileError, match="sha256 is missing"):
            change()
    assert path.read_text() == "[a]\nrole = 'infer'\n"
    with pytest.raises(AccessFileError, match="cannot be written: No such file"):
        add_token(path.parent / "none" / "t.toml", "b", "infer")


def test_owner_and_mode_of_the_file_stay(path):
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


def test_file_whose_owner_cannot_be_kept_is_refused(path, monkeypatch):
    add_token(path, "one", "infer")
    before = path.read_text()

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(AccessFileError, match="cannot be written: Operation not permitted"):
        add_token(path, "two", "infer")
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]
