"""Options, and the real thing that several areas test against: the three classifiers, trained and published once."""

import gc
import importlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

import coverage
import hypothesis
import pytest

from rnnserve.cli import main
from rnnserve.server import choose_polling
from support import measured_processes, torch_unmeasured, unmeasured_imports, unmeasured_pytest
from support.kept_artifacts import KeptArtifacts, digest_of
from support.test_costs import MARKS, marks_of_file, marks_of_fixtures

STARTED = time.time()

# Threads of OpenMP wait asleep, here and in processes that tests start: by default they spin between two runs of torch.
# With more threads than cores, as in `make test`, the training of a small module took 5.5 s of processor time, not 0.2.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

gc.disable()  # until `pytest_collection_finish`: see rnnserve.common.lasting_imports

if coverage.Coverage.current() is not None:
    unmeasured_imports.leave_out()
    unmeasured_pytest.leave_out()
    measured_processes.note_executed_only()

if choose_polling():  # before anything imports grpc, as `rnnserve serve` does
    importlib.import_module("grpc")
    del os.environ["GRPC_EXPERIMENTS"]  # the servers that tests start choose by themselves


def pytest_addoption(parser):
    parser.addoption("--malformed", type=int, default=2000, help="how many malformed requests to send to a server")
    parser.addoption(
        "--checkpoints", type=Path, help="folder of trained classifiers to use; trained into it if it does not exist"
    )
    parser.addoption(
        "--fresh", action="store_true", help="train and publish the classifiers anew, whatever is kept of earlier runs"
    )
    parser.addoption(
        "--fast",
        action="store_true",
        help=f"leave out the tests of which one of these holds: {'; '.join(MARKS.values())}",
    )


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # that of a shell's background job
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # `nohup` ignores the one and such a shell the other, and the servers that tests start would, too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    hypothesis.settings.register_profile("untimed", deadline=None)  # no test asserts a time
    hypothesis.settings.load_profile("untimed")
    for mark, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {meaning}; set by support.test_costs")


def pytest_ignore_collect(collection_path, config):
    """With --fast, import no file whose tests would be left out, since its imports are what takes long."""
    file = collection_path / "conftest.py" if collection_path.is_dir() else collection_path
    if config.getoption("--fast") and file.suffix == ".py" and file.exists():
        return True if marks_of_file(file) else None
    return None


def pytest_collection_modifyitems(items, config):
    for item in items:
        for mark in marks_of_file(item.path) | marks_of_fixtures(getattr(item, "fixturenames", ())):
            item.add_marker(mark)
    if config.getoption("--fast"):
        left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in MARKS)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
        assert "torch" not in sys.modules, "a test without the mark imports torch: support.test_costs has to see it"


def pytest_collection_finish():
    gc.freeze()
    gc.enable()
    # torch imports more when it exports for the first time; looking at that again and again was 12 % of tests/export.
    gc.set_threshold(*gc.get_threshold()[:2], 100)
    if "rnnserve.server.repository.trials" in sys.modules:
        importlib.import_module("support.kept_trials").keep()
    if "torch" in sys.modules:
        for name in ("support.kept_publishing_trials", "support.kept_onnx_processes"):
            importlib.import_module(name).keep()
    # torch writes its trace, whole graphs among it, if this logger has handlers, and pytest gives its own to each that
    # does not propagate: 2 % of the time of an export.
    logging.getLogger("torch.__trace").propagate = True
    if coverage.Coverage.current() is not None and "torch" in sys.modules:
        torch_unmeasured.leave_out()


def pytest_sessionfinish():
    for name in ("support.kept_trials", "support.kept_publishing_trials", "support.kept_onnx_processes"):
        if kept := sys.modules.get(name):
            kept.end_kept()
    if tracker := sys.modules.get("multiprocessing.resource_tracker"):  # it would end after this process, and measure
        tracker._resource_tracker._stop()


def pytest_runtest_setup(item):
    torch_unmeasured.follow(item.nodeid.startswith(torch_unmeasured.FOLLOWED))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    unmeasured_pytest.go_on_in(pyfuncitem)


@pytest.fixture(scope="session")
def kept_artifacts(pytestconfig, tmp_path_factory):
    """What takes long to make, from this run or an earlier one of the same sources."""
    try:
        folder = pytestconfig.cache.mkdir("artifacts")
    except (AttributeError, OSError):  # without pytest's cache, or in a checkout that is read-only
        folder = tmp_path_factory.mktemp("artifacts")
    digest = digest_of(pytestconfig.rootpath / area for area in ("cli", "export", "models", "protos"))
    oldest = STARTED if pytestconfig.getoption("--fresh") else 0.0
    return KeptArtifacts(folder, digest, oldest=oldest)


@pytest.fixture(scope="session")
def checkpoints(kept_artifacts, tmp_path_factory, pytestconfig):
    """What `rnnserve train` makes."""
    given = pytestconfig.getoption("--checkpoints")
    if given is None:
        # Of less than what is published of them is made of: training takes longer, and fewer changes ask for it anew.
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


def _train(folder):
    assert main(["train", "--checkpoints", str(folder)]) == 0
