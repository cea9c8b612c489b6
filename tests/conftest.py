"""Options, and the artifacts that several areas test against: the three classifiers, trained and published once."""

import fcntl
import gc
import hashlib
import importlib
import importlib.metadata
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import hypothesis
import pytest

from rnnserve.cli import main
from rnnserve.server import choose_polling

STARTED = time.time()

# OpenMP's threads sleep while they wait, here and in processes that tests start. By default they spin between two runs
# of torch: with more threads than cores, training a small module took 5.5 s of CPU time instead of 0.2.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# As the commands do. Otherwise gRPC writes a line to stderr for each handshake that fails, in the middle of any test.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

if choose_polling():  # before anything imports grpc, as `rnnserve serve` does
    importlib.import_module("grpc")
    del os.environ["GRPC_EXPERIMENTS"]  # the servers that tests start choose for themselves


def pytest_addoption(parser):
    parser.addoption(
        "--checkpoints", type=Path, help="folder of trained classifiers to use; created if it doesn't exist"
    )
    parser.addoption("--fresh", action="store_true", help="train and publish the classifiers again")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # the default in a shell's background job
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` ignores it, which servers that tests start would inherit
    # No test asserts a time. The core draws the same few examples every time, so a failure is never chance.
    hypothesis.settings.register_profile("core", deadline=None, max_examples=25, derandomize=True)
    hypothesis.settings.register_profile("full", deadline=None, max_examples=200, derandomize=True)
    hypothesis.settings.load_profile("core")


def pytest_collection_finish():
    # Imported modules stay. Torch makes many objects when it exports: collecting them as often as usual took 12 % of
    # the time.
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 100)


def _cpu_seconds():
    return sum(os.times()[:4])  # of this process, and of children that ended


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    before = _cpu_seconds()
    try:
        return (yield)
    finally:
        item.user_properties.append(("cpu_seconds", _cpu_seconds() - before))


def pytest_terminal_summary(terminalreporter):
    """Name the core tests that belong into tests/full."""
    reports = [
        report for report in terminalreporter.getreports("passed") if not report.nodeid.startswith("tests/full/")
    ]
    slow = {
        report.nodeid: seconds for report in reports if (seconds := dict(report.user_properties)["cpu_seconds"]) > 2
    }
    if slow:
        terminalreporter.section("core tests above 2 s of CPU time")
        for name in sorted(slow, key=slow.get, reverse=True):
            terminalreporter.line(f"{slow[name]:5.1f} s  {name}")


@pytest.fixture(scope="session", autouse=True)
def kept_checks():
    """Lets the servers of this process share the processes that check versions: 0.6 s of CPU time per server.

    Imports of the server stay where tests need them, so this looks for servers that are imported already.
    """
    from kit import kept_checks

    kept_checks.keep()
    yield
    kept_checks.end_kept()


@pytest.fixture(scope="session")
def kept_artifacts(pytestconfig, tmp_path_factory):
    """Artifacts that take long to make, from this run or an earlier one of the same sources."""
    try:
        folder = pytestconfig.cache.mkdir("artifacts")
    except (AttributeError, OSError):  # without pytest's cache, or in a read-only checkout
        folder = tmp_path_factory.mktemp("artifacts")
    digest = digest_of(pytestconfig.rootpath / area for area in ("cli", "export", "models", "protos"))
    oldest = STARTED if pytestconfig.getoption("--fresh") else 0.0
    return KeptArtifacts(folder, digest, oldest=oldest)


@pytest.fixture(scope="session")
def checkpoints(kept_artifacts, tmp_path_factory, pytestconfig):
    """What `rnnserve train` makes."""
    given = pytestconfig.getoption("--checkpoints")
    if given is None:
        # Fewer sources than those of the published models: training takes longer, and fewer changes ask for it again.
        digest = digest_of(pytestconfig.rootpath / area for area in ("cli", "common", "models"))
        kept = KeptArtifacts(kept_artifacts.folder, digest, oldest=kept_artifacts.oldest)
        return kept.copy("checkpoints", _train, tmp_path_factory.mktemp("trained") / "checkpoints")
    if not given.exists():
        _train(given)
    return given


@pytest.fixture(scope="session")
def repository(kept_artifacts, checkpoints, tmp_path_factory, pytestconfig):
    """What `rnnserve export` publishes."""

    def publish(folder):
        assert main(["export", "--checkpoints", str(checkpoints), "--repository", str(folder)]) == 0

    folder = tmp_path_factory.mktemp("published") / "repository"
    if pytestconfig.getoption("--checkpoints") is None:
        return kept_artifacts.copy("repository", publish, folder)
    publish(folder)
    return folder


PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "protobuf", "safetensors", "torch")


def digest_of(folders: Iterable[Path]) -> str:
    """Digest of the Python files in the folders, by their paths, and of the versions of Python and of packages."""
    digest = hashlib.sha256(sys.version.encode())
    for package in PACKAGES:
        digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder.parent)} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


class KeptArtifacts:
    """Folders of artifacts, by name, each made once for one digest, by one of several processes.

    Each test session gets a copy of its own, so that no test can change what is kept.

    Attributes:
        folder: Where they are kept.
        digest: What they are made of.
        oldest: Artifacts that were made before, in seconds since the epoch, are made anew.
    """

    def __init__(self, folder: Path, digest: str, *, oldest: float = 0.0) -> None:
        self.folder, self.digest, self.oldest = folder, digest, oldest

    def copy(self, name: str, make: Callable[[Path], None], to: Path) -> Path:
        """Copy an artifact, which is made now if it is not there.

        Args:
            name: The artifact's.
            make: Writes it into a folder that does not exist.
            to: The copy, which does not exist.
        """
        mine = self.folder / name
        mine.mkdir(parents=True, exist_ok=True)
        with (mine / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
            kept = mine / self.digest
            if not kept.exists() or kept.stat().st_mtime < self.oldest:
                self._make(mine, kept, make)
            return Path(shutil.copytree(kept, to))

    @staticmethod
    def _make(mine: Path, kept: Path, make: Callable[[Path], None]) -> None:
        for older in mine.iterdir():  # of other sources, or half made by a process that was killed
            if older.is_dir():
                shutil.rmtree(older)
        with tempfile.TemporaryDirectory(dir=mine) as half:
            made = Path(half) / "made"
            make(made)
            os.utime(made, (time.time(),) * 2)
            made.rename(kept)


def _train(folder):
    assert main(["train", "--checkpoints", str(folder)]) == 0
