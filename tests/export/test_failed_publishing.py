"""Whatever call of publishing fails, the repository is as it was, and the message says so."""

import errno
import os
import subprocess
import sys

import pytest

from kit.failing_writes import FailingWrites, everything
from rnnserve.export.errors import PublishingFailed
from rnnserve.export.publishing import publish_version
from rnnserve.protos.triton_config import CONFIG

FILES = {"model.onnx": b"graph", "manifest.json": b"{}"}
OLDER = {"model.onnx": b"older graph", "manifest.json": b"{1}"}
ERRORS = {
    "full from then on": None,
    "once": OSError(errno.EIO, "Input/output error"),
    "read-only": OSError(errno.EROFS, "Read-only file system", "the path"),
    "interrupted": KeyboardInterrupt(),
}
STATES = ("nothing", "repository", "model", "version")


def prepare(root, state):
    """Make what is there before; return the model's folder."""
    model = root / "repository" / "model"
    if state == "repository":
        model.parent.mkdir()
    elif state == "model":
        model.mkdir(parents=True)
    elif state == "version":
        publish_version(model, OLDER, "config\n")
    return model


def calls_of(root, state):
    model = prepare(root, state)
    with pytest.MonkeyPatch.context() as patch:
        writes = FailingWrites(patch)
        publish_version(model, FILES, "config\n")
    return writes.calls


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("state", STATES)
def test_each_call_that_fails_leaves_the_repository_as_it_was(tmp_path, state, kind):
    (tmp_path / "whole").mkdir()
    count = len(calls_of(tmp_path / "whole", state))
    assert count > 8
    for at in range(count):
        root = tmp_path / str(at)
        root.mkdir()
        model = prepare(root, state)
        before = everything(root)
        with pytest.MonkeyPatch.context() as patch:
            writes = FailingWrites(patch, at, ERRORS[kind])
            with pytest.raises(BaseException) as failed:
                publish_version(model, FILES, "config\n")
        assert everything(root) == before, writes.calls
        if kind == "interrupted":
            assert failed.type is KeyboardInterrupt
        else:
            assert failed.type is PublishingFailed
            assert str(failed.value).startswith(f"{model}: ")
            assert str(failed.value).endswith(". Nothing was published, and nothing was left behind")
        version = publish_version(model, FILES, "config\n").version
        assert version == (2 if state == "version" else 1)


def test_what_cannot_be_removed_is_named(tmp_path, monkeypatch):
    model = prepare(tmp_path, "version")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    FailingWrites(monkeypatch, 2)
    with pytest.raises(PublishingFailed) as failed:
        publish_version(model, FILES, "config\n")
    (left,) = [path for path in model.iterdir() if path.name.startswith(".publishing-")]
    assert str(failed.value).endswith(f"Nothing was published, and this was left behind and may be removed: {left}")


def test_a_file_larger_than_the_system_allows(tmp_path):
    """The same for real: EFBIG of `ulimit -f`, in a process of its own."""
    model = prepare(tmp_path, "version")
    before = everything(tmp_path)
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from rnnserve.export.publishing import publish_version\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "publish_version(Path(sys.argv[1]), {'model.onnx': bytes(100_000), 'manifest.json': b'{}'}, 'config')"
    )
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    run = subprocess.run(
        [sys.executable, "-c", code, str(model)], capture_output=True, text=True, env=unmeasured, check=False
    )
    assert run.stderr.splitlines()[-1].startswith(f"rnnserve.export.errors.PublishingFailed: {model}: ")
    assert "model.onnx: File too large. Nothing was published" in run.stderr
    assert everything(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_disk_that_is_full(tmp_path):
    """The same for real: ENOSPC of a tmpfs of 64 KiB, in a mount namespace of its own."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom rnnserve.export.publishing import publish_version\n"
        "root = Path(sys.argv[1])\npublish_version(root / 'model', {'model.onnx': b'1'}, 'config')\n"
        "try: publish_version(root / 'model', {'model.onnx': bytes(1_000_000)}, 'config')\n"
        "except OSError as error: print(error)\n"
        "print(sorted(str(path.relative_to(root)) for path in root.rglob('*')))"
    )
    mount = f'mount -t tmpfs -o size=64k none "{tmp_path}" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", code, str(tmp_path)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if "unshare" in run.stderr or "mount:" in run.stderr:
        pytest.skip(f"mounts are not permitted: {run.stderr}")
    said, found = run.stdout.splitlines()
    assert "model.onnx: No space left on device. Nothing was published, and nothing was left behind" in said
    assert found == str(["model", "model/1", "model/1/model.onnx", f"model/{CONFIG}"])
