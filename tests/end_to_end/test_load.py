"""`rnnserve load` with the server that it is for."""

import json

from kit.certificates import write_certificates
from rnnserve.cli import main
from rnnserve.server.testing import serve


def test_a_server_with_tls_for_the_time_of_the_test(repository, tmp_path, capsys):
    files = write_certificates(tmp_path)
    flags = f"--tls-certificate {files.server} --tls-key {files.key(files.server)}"
    words = ["--serve", str(repository), "--serve-flags", flags, "--tls-ca", str(files.ca)]
    status = main(["load", "direction_simple", *words, "--rate", "50", "--duration", "0.3", "--warmup", "0"])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "are as expected" in said.out


def test_a_server_for_the_time_of_the_test(repository, capsys):
    status = main(
        [
            "load",
            "--serve",
            str(repository),
            "--serve-flags",
            "--grace 1",
            "--rate",
            "100",
            "--duration",
            "0.5",
            "--warmup",
            "0.1",
            "--length",
            "2:30",
            "--json",
            "-",
        ]
    )
    said = capsys.readouterr()
    assert status == 0, said.err
    found = json.loads(said.out)
    assert found["passed"]
    (point,) = found["points"]
    assert point["labels"]["checked"] == point["sent"] > 0
    assert {model["name"] for model in found["models"]} == {
        "direction_simple",
        "direction_stacked",
        "direction_bidirectional",
    }
    assert sum(point["batches"].values()) > 0
    assert 0 < point["server_cores"] < 64
    assert point["server_memory"] > 1 << 20


def test_sessions_get_the_same_bits_again_and_again(repository, capsys):
    """Of all models; the bidirectional one has no sessions."""
    words = ["--sessions", "3", "--think", "2ms", "--steps", "5", "--duration", "0.4", "--warmup", "0.1", "--json", "-"]
    with serve(repository) as server:
        status = main(["load", "--url", server.address, *words])
    said = capsys.readouterr()
    assert status == 0, said.err
    found = json.loads(said.out)
    assert {model["name"] for model in found["models"]} == {"direction_simple", "direction_stacked"}
    (point,) = found["points"]
    assert point["answers"]["compared"] > 0
    assert point["answers"]["different"] == 0
