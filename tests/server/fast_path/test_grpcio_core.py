"""How gRPC polls its listeners is decided before grpcio is imported, and left alone if it can't be."""

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


def test_waiting_threads_poll_the_listeners():
    assert said(LISTEN) == ("by the threads that wait", "")


def test_experiments_that_the_user_chose_are_kept():
    assert said(SHOW, GRPC_EXPERIMENTS="x") == ("False x", "")


def test_polling_is_unchanged_after_grpc_is_imported():
    assert said(f"import grpc\n{SHOW}") == ("False None", "")


def test_importing_the_server_changes_nothing():
    """Neither the package nor the command imports grpc or sets a variable."""
    shown = "import os, sys, rnnserve.server, rnnserve.server.commands.serve, rnnserve.server.fast_path.grpcio_core; "
    shown += "print(os.environ.get('GRPC_EXPERIMENTS'), sorted({'grpc', 'onnxruntime', 'torch'} & sys.modules.keys()))"
    assert said(shown) == ("None []", "")
