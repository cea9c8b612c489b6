"""`rnnserve load` with a server that it starts with TLS."""

from kit.certificates import write_certificates
from rnnserve.cli import main


def test_load_starts_a_server_with_tls(repository, tmp_path, capsys):
    files = write_certificates(tmp_path)
    flags = f"--tls-certificate {files.server} --tls-key {files.key(files.server)}"
    words = ["--serve", str(repository), "--serve-flags", flags, "--tls-ca", str(files.ca)]
    status = main(
        ["load", "direction_simple", *words, "--pool", "1", "--rate", "50", "--duration", "0.3", "--warmup", "0"]
    )
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert "checked rows equal the reference outputs" in printed.out
