"""The file of tokens: what it may hold, and what is refused, by its line."""

import os
from pathlib import Path

import pytest

from rnnserve.server.access.access_file import AccessFileError, read_content, read_rows
from rnnserve.server.access.credentials import TOKENS

DIGEST = "ab" * 32
PLAIN = f'sha256 = "{DIGEST}"\nrole = "infer"\n'

WRONG = [
    (f"[a]\n{PLAIN}modells = []\n", 4, "modells: there is no such key"),
    (f"[b]\nrole = 'infer'\nsha256 = '{'cd' * 32}'\n[a]\n{PLAIN}models = 1\n", 7, "models: expected a list"),
    (f"[a]\n{PLAIN}in_flight = 3\n", 4, "in_flight: tokens have no limits any more: remove the line"),
    (f"[a]\n{PLAIN}models = 'm'\n", 4, "models: expected a list"),
    (f"[a]\n{PLAIN}models = ['../m']\n", 4, "models: expected a list"),
    (f"[a]\n{PLAIN}not_after = 2030-01-01\n", 4, "not_after: expected a date and a time"),
    (f"[a]\n{PLAIN}not_after = 2030-01-01T00:00:00\n", 4, "not_after: expected a date and a time"),
    (f"[a]\nsha256 = '{DIGEST}'\nrole = 'root'\n", 3, "role: expected one of infer, admin, metrics"),
    (f"[a]\nsha256 = '{DIGEST.upper()}'\nrole = 'infer'\n", 2, "sha256: expected 64 hexadecimal digits"),
    ("[a]\nrole = 'infer'\n", 1, "sha256 is missing"),
    (f"[a]\nsha256 = '{DIGEST}'\n", 1, "role is missing"),
    (f"\n['a b']\n{PLAIN}", 2, "a name has 1 to 64 letters"),
    ("a = 1\n", 1, "a table is expected"),
    (f"[a]\n{PLAIN}[b]\n{PLAIN}", 5, "sha256: [a] has the same"),
]


def read(text):
    return read_rows(text.encode(), Path("t.toml"), TOKENS)


def test_row_has_all_its_fields():
    (token,) = read(
        f'[team-a]\nsha256 = "{DIGEST}"\nrole = "admin"\nmodels = ["m", "n"]\nnot_after = 1970-01-01T00:01:00Z\n'
    ).values()
    assert (token.name, token.key, token.role) == ("team-a", bytes.fromhex(DIGEST), "admin")
    assert (token.models, token.not_after) == (frozenset("mn"), 60.0)
    assert read("") == read("# nobody\n") == {}


def test_wrong_row_is_refused_with_its_line():
    for text, line, said in WRONG:
        with pytest.raises(AccessFileError, match=rf"^t\.toml:{line}: ") as refused:
            read(text)
        assert said in str(refused.value)


def test_file_that_is_not_toml_is_refused():
    for content in (b"[a", b"[a]\n[a]\n", b"\xff"):
        with pytest.raises(AccessFileError, match=r"t\.toml"):
            read_rows(content, Path("t.toml"), TOKENS)


def test_file_open_to_all_is_refused(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text("")
    for mode in (0o604, 0o602, 0o644, 0o666, 0o777):
        path.chmod(mode)
        with pytest.raises(AccessFileError, match=r"is open to every user of this machine: chmod o-rw"):
            read_content(path, TOKENS)
    path.chmod(0o640)
    assert read_content(path, TOKENS) == b""


def test_path_without_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe"):
        with pytest.raises(AccessFileError, match="the file of tokens"):
            read_content(path, TOKENS)
