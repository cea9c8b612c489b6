"""`rnnserve export` and `rnnserve verify`: their output and exit status."""

import re
import shutil

from kit.signed_versions import make_key
from rnnserve.cli import main
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, read_version
from rnnserve.protos.signing.signed_version import check_release, read_signed
from rnnserve.protos.triton_config import CONFIG


def test_export_summarizes_parity_and_signs_the_version(checkpoint, tmp_path, capsys):
    key = make_key(tmp_path, "ours", password=b"secret")
    repository, password = tmp_path / "repository", tmp_path / "ours.password"
    words = ["export", "--checkpoints", str(checkpoint.parent), "--repository", str(repository)]
    assert main([*words, "--sign-key", str(key.private), "--sign-key-password-file", str(password)]) == 0
    out = capsys.readouterr().out
    version = repository / checkpoint.name / "1"
    assert re.match(rf"{checkpoint.name}: [\d,]+ sequences ", out), out
    assert f"{checkpoint.name}: published as version 1, {version}\n" in out
    assert f"signed with the key {key.key.id}, sequence 1\n" in out
    assert len(out.splitlines()) < 6
    signed = read_signed(version, [key.key.public])
    check_release(signed.release, checkpoint.name, 1, (version.parent / CONFIG).read_bytes())
    read_version(version, signed=signed.files)
    assert main(["inspect", str(repository), "--public-key", str(key.public)]) == 0
    assert f"valid; signed with the key {key.key.id}" in capsys.readouterr().out


def test_verify_prints_one_line_and_every_check_on_demand(exported, verified, capsys, monkeypatch):
    repository, done = exported
    monkeypatch.setattr("rnnserve.export.verify.verify_version", lambda *_, **__: verified)
    assert main(["verify", str(repository)]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(rf"{done.name} version 1: verified, \d+ checks\n", out), out
    assert main(["verify", str(repository), done.name, "--table"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{done.name} version 1\n  ok      ")
    assert "FAILED" not in out
    assert "onnx from" in out
    for part in (MODEL, SCAN, SCRIPT, GOLDEN, MANIFEST, CONFIG, "parity"):
        assert f"  ok      {part}" in out


def test_verify_names_the_bad_version_and_its_file(repository, version, capsys):
    for name in (MODEL, SCAN, SCRIPT, GOLDEN, MANIFEST):
        data = (version / name).read_bytes()
        middle = len(data) // 2
        (version / name).write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        assert main(["verify", str(repository)]) == 1
        out = capsys.readouterr().out
        assert re.search(rf"  FAILED  files: as published\n          {name}: ", out), out
        assert out.endswith(f"\n1 of 1 version failed: {version.parent.name} version 1\n")
        (version / name).write_bytes(data)


def test_verify_checks_every_version(repository, version, capsys):
    (version / SCRIPT).unlink()
    for name in ("2", "10", ".publishing-abc"):
        shutil.copytree(version, version.parent / name)
    assert main(["verify", str(repository)]) == 1
    out = capsys.readouterr().out
    assert re.findall(r"^\S+ version (\d+)$", out, re.MULTILINE) == ["1", "2", "10"]
    assert out.count(f"{SCRIPT}: is missing") == 3
