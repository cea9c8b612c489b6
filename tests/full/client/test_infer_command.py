"""`rnnserve infer`: its command line, its help, and what gRPC logs."""

import os
import subprocess
import sys

from kit.fakes import FakeModels, serving

JSON = "[[[1, 0], [0, 3], [1, 1]], [[5, 2]]]"


def test_grpc_logs_nothing_beside_the_message():
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
