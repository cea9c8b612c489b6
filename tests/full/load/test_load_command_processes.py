"""The processes of `rnnserve load`: its generators, the server that it starts, and what its own process imports."""

import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from rnnserve.client.endpoint import Endpoint
from rnnserve.client.errors import ClientError, Unavailable
from rnnserve.load.generator_processes import GeneratorProcesses, LoadTarget
from rnnserve.load.load_level import LoadLevel
from rnnserve.load.local_server import serve_repository


def test_generator_that_dies_is_an_error(address, spec):
    with ExitStack() as stack:
        fleet = stack.enter_context(GeneratorProcesses(LoadTarget(Endpoint(address)), spec()))
        fleet._processes[0].kill()
        fleet._processes[0].join()
        with pytest.raises((ClientError, ConnectionError)):
            fleet.run(LoadLevel(rate=10, duration=0.1), None, lambda *_: None)


def test_ctrl_c_prints_the_measurements_so_far(address):
    # What runs in the background of a shell that is no terminal's ignores SIGINT, and so does all that it starts.
    as_in_a_terminal = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [as_in_a_terminal, "import sys", "from rnnserve.cli import main", "sys.exit(main())"]
    words = ["load", "--url", address, "--rate", "20,10", "--duration", "1", "--warmup", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", "; ".join(command), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr.readline().startswith("[1/2] 20 requests/s")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert output.splitlines()[1].startswith("20 ")


def test_server_that_does_not_start_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="before it was ready"), serve_repository(tmp_path / "nowhere"):
        pass


def test_load_without_a_page_or_an_objective_imports_no_large_package(address):
    code = (
        "import sys; from rnnserve.cli import main; status = main(sys.argv[1:])\n"
        "print('IMPORTED', sorted({'matplotlib', 'jinja2', 'scipy', 'torch'} & set(sys.modules))); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "load", "--url", address, "--rate", "50", "--duration", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "IMPORTED []"
