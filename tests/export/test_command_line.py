"""`rnnserve export` and `rnnserve verify`: what they print, and how they exit."""

import re
import shutil

import pytest

from kit.signed_versions import make_key
from rnnserve.cli import main
from rnnserve.export.commands.export import _names_in
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, read_version
from rnnserve.protos.signing.signed_version import check_release, read_signed
from rnnserve.protos.triton_config import CONFIG


def test_a_published_version_verifies(exported, capsys):
    repository, done = exported
    assert main(["verify", str(repository)]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(rf"{done.name} version 1: verified, \d+ checks\n", out), out


def test_verify_prints_every_check_and_the_table_on_demand(exported, capsys):
    repository, done = exported
    assert main(["verify", str(repository), done.name, "--table"]) == 0
    out = capsys.readouterr().out
    for part in (MODEL, SCAN, SCRIPT, GOLDEN, MANIFEST, CONFIG, "parity"):
        assert f"  ok      {part}" in out
    assert "onnx from" in out


@pytest.mark.parametrize("name", [MODEL, SCAN, SCRIPT, GOLDEN, MANIFEST])
def test_verify_exits_with_1_and_names_the_file(repository, version, name, capsys):
    data = bytearray((version / name).read_bytes())
    data[len(data) // 2] ^= 1
    (version / name).write_bytes(data)
    assert main(["verify", str(repository)]) == 1
    out = capsys.readouterr().out
    assert re.search(rf"  FAILED  files: as published\n          {name}: ", out), out
    assert out.endswith(f"\n1 of 1 version failed: {version.parent.name} version 1\n")


def test_every_version_is_verified_and_the_bad_one_named(repository, version, capsys):
    shutil.copytree(version, version.parent / "2")
    shutil.copytree(version, version.parent / "10")
    shutil.copytree(version, version.parent / ".publishing-abc")
    (version.parent / "2" / SCRIPT).unlink()
    assert main(["verify", str(repository)]) == 1
    out = capsys.readouterr().out
    assert re.findall(r"^\S+ version (\d+)(: verified)?", out, re.MULTILINE) == [
        ("1", ": verified"),
        ("2", ""),
        ("10", ": verified"),
    ]
    assert f"{SCRIPT}: is missing" in out
    assert out.endswith(f"1 of 3 versions failed: {version.parent.name} version 2\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no repository nowhere; `rnnserve export` makes one"),
        (["."], "there is no model in ."),
        (["REPOSITORY", "other"], "there is no model 'other' in .*; there are direction_small"),
    ],
)
def test_verify_says_what_it_cannot_find(repository, tmp_path, monkeypatch, capsys, words, message):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert main(["verify", *(str(repository) if word == "REPOSITORY" else word for word in words)]) == 1
    assert re.match(f"rnnserve verify: {message}", capsys.readouterr().err)


def test_a_model_without_versions_is_no_success(repository, capsys):
    (repository / "unfinished").mkdir()
    assert main(["verify", str(repository)]) == 1
    assert "the model unfinished" in capsys.readouterr().err


def test_export_summarizes_the_proof_and_prints_where_it_published(checkpoint, tmp_path, capsys):
    words = ["export", "--checkpoints", str(checkpoint.parent), "--repository", str(tmp_path / "repository")]
    assert main(words) == 0
    out = capsys.readouterr().out
    version = tmp_path / "repository" / checkpoint.name / "1"
    assert re.match(rf"{checkpoint.name}: [\d,]+ sequences ", out), out
    assert out.endswith(f"{checkpoint.name}: published as version 1, {version}\n")
    assert len(out.splitlines()) < 5
    assert main([*words[:1], checkpoint.name, *words[1:], "--table"]) == 0
    out = capsys.readouterr().out
    assert "onnx from" in out
    assert f"{checkpoint.name}: unchanged: version 1, {version}\n" in out


@pytest.mark.parametrize("exists", [True, False])
def test_export_without_checkpoints_says_who_makes_them(tmp_path, capsys, exists):
    folder = tmp_path / "checkpoints"
    if exists:
        folder.mkdir()
    assert main(["export", "--checkpoints", str(folder), "--repository", str(tmp_path / "r")]) == 1
    assert capsys.readouterr().err == (
        f"rnnserve export: there are no checkpoints in {folder}; `rnnserve train` makes them\n"
    )
    assert not (tmp_path / "r").exists()


def test_export_names_the_checkpoint_that_is_missing(checkpoint, tmp_path, capsys):
    words = ["export", "lost", "--checkpoints", str(checkpoint.parent), "--repository", str(tmp_path)]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert re.match(r"rnnserve export: .*lost.*`rnnserve train`", err)
    assert err.count("\n") == 1


def test_export_into_a_file_says_so(checkpoint, tmp_path, capsys, monkeypatch):
    (tmp_path / "repository").write_text("a file")
    monkeypatch.setattr("rnnserve.export.pipeline.to_onnx", lambda _: pytest.fail("nothing is to be exported"))
    words = ["export", "--checkpoints", str(checkpoint.parent), "--repository", str(tmp_path / "repository")]
    assert main(words) == 1
    err = capsys.readouterr().err
    said = "is a file; expected a folder. Nothing was published"
    assert err == f"rnnserve export: the repository {tmp_path / 'repository'} {said}\n"


def test_all_checkpoints_are_folders_that_are_not_hidden(tmp_path):
    for name in ("b", "a", ".tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("")
    assert _names_in(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("command", ["export", "verify"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    assert exit.value.code == 0
    assert f"rnnserve {command} " in capsys.readouterr().out


def test_what_is_exported_with_a_key_is_signed_and_verifies(checkpoint, tmp_path, capsys):
    key = make_key(tmp_path, "ours", password=b"secret")
    repository, password = tmp_path / "repository", tmp_path / "ours.password"
    words = ["export", "--checkpoints", str(checkpoint.parent), "--repository", str(repository)]
    assert main([*words, "--sign-key", str(key.private), "--sign-key-password-file", str(password)]) == 0
    assert f"signed with the key {key.key.id}, sequence 1\n" in capsys.readouterr().out
    version = repository / checkpoint.name / "1"
    signed = read_signed(version, [key.key.public])
    check_release(signed.release, checkpoint.name, 1, (version.parent / CONFIG).read_bytes())
    read_version(version, signed=signed.files)
    assert main(["verify", str(repository)]) == 0
    assert main(["inspect", str(repository), "--public-key", str(key.public)]) == 0
    assert f"holds; by the key {key.key.id}" in capsys.readouterr().out
