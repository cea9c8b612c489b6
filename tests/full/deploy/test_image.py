"""The container image, built on a base of Debian's and run: `make image-test`. It takes minutes, and root."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit.asked_servers import MODEL
from kit.paths import ROOT
from kit.waiting import PATIENCE, until

pytestmark = pytest.mark.long

KEPT = ROOT / ".image"
TOOLS = ("buildah", "debootstrap", "podman", "runc")
LIMITS = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=90000:90000"]
ENVIRONMENT = {
    **os.environ,
    "BUILDAH_ISOLATION": "chroot",
    "STORAGE_DRIVER": "vfs",
    "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
}
MEMORY, PROCESSORS = 1 << 30, 1
NONE_MAY = 65534

ASK = f"""
import sys, time, numpy as np
from rnnserve.client import Client
walk = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
with Client("127.0.0.1:8001") as client:
    first = client.predict({MODEL!r}, [walk])[0]
    print(sorted(first), flush=True)
    while client.is_ready():
        time.sleep(0.01)
    print("drains", flush=True)
    for _ in range(50):
        again = client.predict({MODEL!r}, [walk])[0]
        assert all(np.array_equal(first[name], again[name]) for name in first)
    print("answered", flush=True)
"""
"""Ask once, wait until the server says that it is to end, and ask on."""


def run(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=600, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def podman():
    """A function that runs podman, in whose storage the image is."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.getuid():
        pytest.skip(f"needs root, and Debian's {', '.join(missing or TOOLS)}")
    base, storage = KEPT / "base", KEPT / "storage"
    if not base.exists():
        shutil.rmtree(KEPT / "new", ignore_errors=True)
        KEPT.mkdir(exist_ok=True)
        run("debootstrap", "--variant=minbase", "--include=python3,python3-venv", "trixie", str(KEPT / "new"))
        (KEPT / "new").rename(base)
    shutil.rmtree(storage, ignore_errors=True)
    here = ["--root", str(storage), "--runroot", str(KEPT / "run")]

    def podman(*words, check=True):
        command = ["podman", *here, "--runtime", "runc", "--cgroup-manager", "cgroupfs", *words]
        if check:
            return run(*command)
        return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE).returncode

    with subprocess.Popen(["tar", "-C", base, "-c", "."], stdout=subprocess.PIPE) as tar:
        run("podman", *here, "import", "-", "localhost/base", stdin=tar.stdout)
    build = ["buildah", *here, "build", "--format", "docker", "--pull=never", "--network", "none", *LIMITS]
    names = ["IMAGE_BASE=localhost/base", "IMAGE=localhost/tried", f"IMAGE_BUILD={shlex.join(build)}"]
    run("make", "image", *names, cwd=ROOT)
    yield podman
    shutil.rmtree(storage)


@pytest.fixture
def container(podman, repository):
    """The name of a container that serves: read-only, without a network, with a GiB and a processor."""
    repository.parent.chmod(0o755)
    name = f"tried-{os.getpid()}"
    options = ["--network", "none", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
    options += ["--memory", str(MEMORY), "--cpus", str(PROCESSORS), *LIMITS, "--pull", "never"]
    options += [f"--volume={repository}:/mnt/models:ro", "localhost/tried"]
    podman("run", "--detach", "--name", name, *options, "serve", "--host=0.0.0.0", "--drain=2", "/mnt/models")
    yield name
    podman("rm", "--force", "--time", "0", name)


def test_image_serves_without_root_drains_and_ends(podman, container):
    until(lambda: podman("healthcheck", "run", container, check=False) == 0)
    (state,) = json.loads(podman("inspect", container))
    pid = state["State"]["Pid"]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert status["Uid"].split() == [str(NONE_MAY)] * 4
    assert (int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, "1")
    assert podman("exec", container, "touch", "/opt/rnnserve/it", check=False) != 0
    assert (state["HostConfig"]["Memory"], state["HostConfig"]["NanoCpus"]) == (MEMORY, PROCESSORS * 10**9)
    for absent in ("pip", "torch", "onnx", "matplotlib", "tqdm"):
        assert podman("exec", container, "python3", "-c", f"import {absent}", check=False) == 1, absent
    words = ["nsenter", f"--target={pid}", "--net", sys.executable, "-c", ASK]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
        assert "logits" in client.stdout.readline()
        podman("kill", "--signal", str(signal.SIGTERM.value), container)
        assert client.stdout.readline() == "drains\n"
        assert podman("healthcheck", "run", container, check=False) == 1
        assert client.stdout.readline() == "answered\n"
        assert client.wait(PATIENCE) == 0
    assert podman("wait", container) == "0"
    assert "Traceback" not in podman("logs", container)
