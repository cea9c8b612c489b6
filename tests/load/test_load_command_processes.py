"""The processes of `rnnserve load`: its generators, the server that it starts, and what its own process imports."""

import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from rnnserve.client.endpoint import Endpoint
from rnnserve.client.errors import ClientError, Unavailable
from rnnserve.load.generator_processes import GeneratorProcesses
from rnnserve.load.generator_worker import LoadTarget
from rnnserve.load.load_level import LoadLevel
from rnnserve.load.local_server import serve_repository

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1"]


@pytest.fixture
def generators():
    """As they are: processes of their own."""


def test_a_generator_that_dies_is_no_result(address, spec):
    with ExitStack() as stack:
        fleet = stack.enter_context(GeneratorProcesses(LoadTarget(Endpoint(address)), spec()))
        fleet._processes[0].kill()
        fleet._processes[0].join()
        with pytest.raises((ClientError, ConnectionError)):
            fleet.run(LoadLevel(rate=10, duration=0.1), lambda *_: None)


def test_generators_say_why_they_cannot_connect(spec):
    with (
        GeneratorProcesses(LoadTarget(Endpoint("127.0.0.1:1")), spec()) as fleet,
        pytest.raises(Unavailable, match="no server answers"),
    ):
        fleet.run(LoadLevel(rate=10, duration=0.1, timeout=0.5), lambda *_: None)


def test_ctrl_c_shows_what_was_measured(address):
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


def test_a_server_that_does_not_start_is_told(tmp_path):
    with pytest.raises(Unavailable, match="ended before it was ready"), serve_repository(tmp_path / "nowhere"):
        pass


def test_the_report_needs_its_extra_and_says_so_before_any_load(load, walks, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("rnnserve.load.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, output, errors = load(*QUICK, "--html", str(tmp_path / "r.html"))
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve load: --html needs the package matplotlib")
    assert "pip install '.[report]'" in errors
    assert walks.requests == []


@pytest.mark.parametrize(("options", "imported"), [([], False), (["--html", "r.html"], True)])
def test_only_html_imports_matplotlib_and_jinja(address, tmp_path, options, imported):
    code = (
        "import sys; from rnnserve.cli import main; status = main(sys.argv[1:])\n"
        "print('IMPORTED', sorted({'matplotlib', 'matplotlib.pyplot', 'jinja2'} & set(sys.modules))); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "load", "--url", address, "--rate", "50", "--duration", "0.1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == f"IMPORTED {['jinja2', 'matplotlib'] if imported else []}"


def test_generators_share_a_load(measured, walks):
    status, point = measured(*QUICK, "--processes", "2", "--connections", "2", "--arrivals", "constant")
    assert status == 0
    assert point["sent"] == 30
    assert len(point["generator_cpu"]) == 2
    assert len({request.SerializeToString() for request in walks.requests}) > 20
