"""How gRPC's listeners read is decided before grpcio is imported, and left alone where it cannot be."""

import os
import subprocess
import sys

LISTEN = """
from rnnserve.server.fast_path.grpcio_core import choose_polling
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

SHOW = """
import os
from rnnserve.server.fast_path.grpcio_core import choose_polling
print(choose_polling(), os.environ.get("GRPC_EXPERIMENTS"))
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


def test_the_users_own_choice_stays():
    assert said(SHOW, GRPC_EXPERIMENTS="x") == ("False x", "")


def test_it_is_too_late_once_grpc_is_imported():
    assert said(f"import grpc\n{SHOW}") == ("False None", "")


def test_importing_has_no_effect():
    """Neither that of the package, nor that of the command."""
    shown = "import os, sys, rnnserve.server, rnnserve.server.commands.serve, rnnserve.server.fast_path.grpcio_core; "
    shown += "print(os.environ.get('GRPC_EXPERIMENTS'), sorted({'grpc', 'onnxruntime', 'torch'} & sys.modules.keys()))"
    assert said(shown) == ("None []", "")
