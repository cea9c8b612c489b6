"""How gRPC's listeners read is decided before grpcio is imported, and left alone where it cannot be."""

import os
import subprocess
import sys

import pytest

SHOW = """
import os
from rnnserve.server.grpcio_private.polling import choose_polling
print(choose_polling(), os.environ.get("GRPC_EXPERIMENTS"))
"""

LISTEN = """
from rnnserve.server.grpcio_private.polling import choose_polling
choose_polling()
import grpc, os, pathlib
from concurrent import futures

server = grpc.server(futures.ThreadPoolExecutor(1))
server.add_insecure_port("127.0.0.1:0")
server.start()
descriptors = {int(path.name): os.readlink(path) for path in pathlib.Path("/proc/self/fd").iterdir() if path.exists()}
polled_by = [fd for fd, name in sorted(descriptors.items()) if "eventpoll" in name
             for line in pathlib.Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
             if line.startswith("tfd:") and descriptors[int(line.split()[1])].startswith("socket")]
first = min(fd for fd, name in descriptors.items() if "eventpoll" in name)
print("by the threads that wait" if set(polled_by) == {first} else "by an engine", flush=True)
os._exit(0)
"""


def said(code: str, **environment: str) -> tuple[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**kept, **environment},
    )
    return done.stdout.strip(), done.stderr.strip()


def test_listeners_are_read_by_the_threads_that_wait():
    assert said(LISTEN) == ("by the threads that wait", "")


def test_the_event_engine_would_read_them_otherwise():
    """Without this grpcio reads on threads of its own; where that changes, the choice can go."""
    assert said(LISTEN, GRPC_EXPERIMENTS="event_engine_listener") == ("by an engine", "")


def test_the_users_own_choice_stays():
    assert said(SHOW, GRPC_EXPERIMENTS="x") == ("False x", "")


def test_it_is_too_late_once_grpc_is_imported():
    assert said(f"import grpc\n{SHOW}") == ("False None", "")


def test_a_grpcio_that_does_not_know_the_choice_is_left_alone(tmp_path):
    library = tmp_path / "grpc" / "_cython"
    library.mkdir(parents=True)
    (tmp_path / "grpc" / "__init__.py").touch()
    (library / "cygrpc.so").write_bytes(b"something else")
    assert said(SHOW, PYTHONPATH=str(tmp_path)) == ("False None", "")


@pytest.mark.parametrize(
    ("transport", "chosen"),
    [("auto", "-event_engine_listener"), ("lane", "-event_engine_listener"), ("public", "None")],
)
def test_serving_chooses_where_the_lane_reads(transport, chosen):
    shown, _ = said(
        f"import os; from rnnserve.cli import main; main(['serve', 'nowhere', '--transport', '{transport}']); "
        "print(os.environ.get('GRPC_EXPERIMENTS'))"
    )
    assert shown == chosen


def test_the_choice_stays_with_the_process_that_has_imported_grpc():
    """What tests/conftest.py relies on."""
    taken_back = "choose_polling()\nimport grpc, os, pathlib\ndel os.environ['GRPC_EXPERIMENTS']\n"
    assert said(LISTEN.replace("choose_polling()\nimport grpc, os, pathlib\n", taken_back)) == (
        "by the threads that wait",
        "",
    )


def test_importing_has_no_effect():
    """Neither that of the package, nor that of the command."""
    shown = "import os, sys, rnnserve.server, rnnserve.server.commands.serve, rnnserve.server.grpcio_private.polling; "
    shown += "print(os.environ.get('GRPC_EXPERIMENTS'), sorted({'grpc', 'onnxruntime', 'torch'} & sys.modules.keys()))"
    assert said(shown) == ("None []", "")
