"""`rnnserve web` as a process, without a server behind it."""

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from kit.certificates import write_certificates
from kit.waiting import PATIENCE
from rnnserve.cli import main

COMMAND = [sys.executable, "-m", "rnnserve.cli", "web"]


def asked(url):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=PATIENCE)
    return refused.value


def test_web_prints_its_address_and_ends_on_sigterm(tmp_path):
    command = [*COMMAND, "--upstream", f"unix:{tmp_path}", "--http-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        printed = re.fullmatch(r"HTTP on (127\.0\.0\.1:\d+)\n", process.stdout.readline())
        assert printed
        reply = asked(f"http://{printed[1]}/v2/health/live")
        assert (reply.code, reply.headers["retry-after"], reply.headers["connection"]) == (503, "1", "close")
        said = json.loads(reply.read())["error"]
        assert str(tmp_path) not in said
        with urllib.request.urlopen(f"http://{printed[1]}/openapi.json", timeout=PATIENCE) as document:
            assert json.loads(document.read())["openapi"] == "3.1.0"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert "Traceback" not in process.stderr.read()


def test_web_ends_when_it_exceeds_its_memory_limit():
    code = "from rnnserve.web.commands.web import MemoryWatch; MemoryWatch(8 << 20).look()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    assert "more than its limit of 8 MB; ending at once" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--upstream", "nowhere"], "is not host:port"),
        (["--upstream", "127.0.0.1:1,127.0.0.1:2"], "--upstream accepts only one server"),
        (["--upstream", "127.0.0.1:1", "--tls-key", "k"], "TLS needs both --tls-certificate and --tls-key"),
        (["--upstream", "127.0.0.1:1", "--tls-client-ca", "c"], "--tls-client-ca needs TLS"),
        (["--upstream", "127.0.0.1:1", "--upstream-tls-ca", "c"], "needs a URL with TLS"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys):
    assert main(["web", *words]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert said in line


def test_port_in_use_is_reported(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["web", "--upstream", "127.0.0.1:1", "--http-port", port]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_https_admits_only_clients_with_a_certificate(tmp_path):
    files = write_certificates(tmp_path)
    command = [*COMMAND, "--upstream", "127.0.0.1:1", "--http-port", "0", "--tls-certificate", str(files.server)]
    command += ["--tls-key", str(files.key(files.server)), "--tls-client-ca", str(files.ca)]
    known, stranger = (ssl.create_default_context(cafile=str(files.ca)) for _ in range(2))
    for context in (known, stranger):
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    known.load_cert_chain(files.client, files.key(files.client))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().rpartition(":")[2])
        url = f"https://127.0.0.1:{port}/openapi.json"
        with urllib.request.urlopen(url, timeout=PATIENCE, context=known) as document:
            assert document.status == 200
        with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
            urllib.request.urlopen(url, timeout=PATIENCE, context=stranger)
        process.terminate()
        assert process.wait(PATIENCE) == 0
