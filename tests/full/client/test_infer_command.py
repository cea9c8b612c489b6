"""`rnnserve infer`: its command line, its help, and what gRPC logs."""

import os
import subprocess
import sys

import pytest

from kit.fakes import FakeModels, serving
from rnnserve.cli import main

JSON = "[[[1, 0], [0, 3], [1, 1]], [[5, 2]]]"


def test_grpc_logs_nothing_in_addition_to_the_message():
    code = "import sys; from rnnserve.cli import main; sys.exit(main(sys.argv[1:]))"
    with serving(FakeModels({})) as address:
        done = subprocess.run(
            [sys.executable, "-c", code, "infer", "sums", "--url", f"grpcs://{address}"],
            input=JSON,
            capture_output=True,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"},
        )
    assert done.stderr == (
        f"rnnserve infer: grpcs://{address}: the server does not use TLS; connect to grpc://{address}\n"
    )


def test_help_shows_every_format_with_an_example_that_works(infer, capsys):
    with pytest.raises(SystemExit):
        main(["infer", "--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in ("json", "csv", "npy", "npz"))
    example = next(line for line in shown.partition("input formats")[2].splitlines() if line.strip().startswith("[[["))
    assert infer("sums", stdin=example)[0] == 0
    assert "127.0.0.1:8001" in shown
