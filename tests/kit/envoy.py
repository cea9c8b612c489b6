"""Envoy with the configuration of `deploy/envoy/`, before servers of a test."""

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from kit.paths import ROOT
from kit.waiting import PATIENCE, until

CONFIGURATION = ROOT / "deploy/envoy/envoy.yaml"
ENVOY = Path(sys.executable).parent / "envoy"


@contextlib.contextmanager
def envoy(folder, servers):
    """Run Envoy before three servers, or the first of them again; gives its address, and that of its administration."""
    text = CONFIGURATION.read_text()
    for number in (1, 2, 3):
        host, _, port = servers[min(number, len(servers)) - 1].address.rpartition(":")
        text, count = re.subn(
            rf"address: server-{number}, port_value: 8001", f"address: {host}, port_value: {port}", text
        )
        assert count == 1
    text, count = re.subn(r"(address: )\S+, port_value: (8001|9901)", r"\g<1>127.0.0.1, port_value: 0", text)
    assert count == 2
    (folder / "envoy.yaml").write_text(text)
    command = [ENVOY, "--config-path", folder / "envoy.yaml", "--admin-address-path", folder / "admin"]
    command += ["--concurrency", "1", "--base-id-path", folder / "base", "--use-dynamic-base-id"]
    with (folder / "envoy.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until(lambda: process.poll() is None and (folder / "admin").exists() and (folder / "admin").read_text())
            admin = (folder / "admin").read_text()
            until(lambda: asked(admin, "ready") == "LIVE")
            (listener,) = json.loads(asked(admin, "listeners?format=json"))["listener_statuses"]
            yield f"127.0.0.1:{listener['local_address']['socket_address']['port_value']}", admin
        finally:
            process.terminate()
            process.wait(PATIENCE)


def asked(admin, path):
    """What Envoy's administration says."""
    try:
        with urllib.request.urlopen(f"http://{admin}/{path}", timeout=PATIENCE) as said:
            return said.read().decode().strip()
    except OSError:
        return ""
