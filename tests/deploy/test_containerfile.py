"""The Containerfile: what hadolint says of it, and its commands, against the server's own parsers."""

import argparse
import json
import re
from pathlib import Path

from deploy.check import DEPLOY
from kit.serve_options import configured
from rnnserve.client.commands import health

FILE = DEPLOY / "Containerfile"


def parsed(module, words):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(words)


def said(instruction) -> list[str]:
    """The words of an instruction of the last stage."""
    (found,) = re.findall(rf"^{instruction} .*?(\[.*\])$", FILE.read_text().rpartition("\nFROM ")[2], re.MULTILINE)
    return json.loads(found)


def test_commands_are_valid_for_rnnserve():
    program, command, *words = [*said("ENTRYPOINT"), *said("CMD")]
    assert (program, command) == ("rnnserve", "serve")
    options = configured(*words).settings
    assert (options.host, options.repository) == ("0.0.0.0", Path("/mnt/models"))
    exposed = re.search(r"(?m)^EXPOSE (.*)$", FILE.read_text())[1].split()
    assert exposed == [str(options.grpc_port), "8000"]
    program, command, *words = said("HEALTHCHECK")
    assert (program, command) == ("rnnserve", "health")
    assert parsed(health, words).address == f"127.0.0.1:{options.grpc_port}"


def test_image_installs_only_the_serving_extras():
    """The extras of the server and of HTTP. Nothing that trains, exports or measures."""
    assert re.findall(r"'rnnserve\[(.*)\]'", FILE.read_text()) == ["server,web"]
