"""Publishing: a version appears in the repository complete, by one rename, or not at all.

Before the rename its files are in a folder whose name begins with a dot, which servers ignore. An export that is killed
leaves such a folder, which may be removed.
"""

import errno
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rnnserve.common.extras import missing_package
from rnnserve.export.errors import ExportError, PublishingFailed
from rnnserve.export.triton_config_writing import write_config
from rnnserve.protos.signing.signed_version import (
    SignatureError,
    read_signed_in_place,
    sign_version,
    write_release,
)
from rnnserve.protos.triton_config import CONFIG, ConfigError, read_config

__all__ = ["OtherGraph", "Published", "Seal", "publish_tried", "publish_version", "seal_with", "try_on_server"]

Seal = Callable[[Path, int], object]
"""Completes the folder of a version that is about to be published under a number, as by signing it."""


def seal_with(key_file: Path | str | None, password_file: Path | str | None = None) -> Seal:
    """Give what signs a version for `publish`: a function of the folder of its files, and of its number.

    What is signed with the key already, beside the config as it is now, stays as it is.

    Args:
        key_file: Private key in PEM, of the elliptic curve P-256 or P-384; None to sign nothing.
        password_file: File with the key's password in its first line; None for a key without one.

    Raises:
        ArtifactError: If the key cannot be read.
        ExportError: If the package `cryptography` is missing, or there is a password and no key.

    Example:
        import subprocess
        import torch
        from rnnserve.export import Floats, publish, seal_with

        make_key = "openssl ecparam -name prime256v1 -genkey -noout -out release.key"
        subprocess.run(make_key.split(), check=True)  # yours is kept where models are released
        result = publish(
            torch.nn.GRU(3, 8, batch_first=True).eval(),  # with your weights
            "gru",
            repository="own_models",
            inputs={"input": Floats("batch", "sequence", 3)},
            outputs=["output", "h_n"],
            progress=False,
            seal=seal_with("release.key"),
        )
        print((result.published.folder / "model.sig").is_file())  # True
    """
    if key_file is None:
        if password_file is not None:
            raise ExportError("a password is given for a key, and no key (--sign-key): nothing would be signed")
        return lambda *_: None
    try:
        from rnnserve.protos.signing.keys import read_private_key
    except ModuleNotFoundError as missing:
        raise ExportError(f"signing {missing_package(missing.name, 'sign')}") from missing
    key = read_private_key(Path(key_file), None if password_file is None else Path(password_file))

    def seal(folder: Path, number: int) -> None:
        with suppress(SignatureError):
            read_signed_in_place(folder, [key.public], number)
            return
        write_release(folder, number=number)
        sign_version(folder, key)

    return seal


_ATTEMPTS = 100
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


@dataclass(frozen=True)
class Published:
    """Where a version is.

    Attributes:
        folder: `<repository>/<model>/<version>`.
        version: Its number.
        new: False if the newest version already had these files.
    """

    folder: Path
    version: int
    new: bool


def publish_version(
    model: Path,
    files: Mapping[str, bytes],
    config: str,
    check: Callable[[Path], object] = lambda _: None,
    seal: Seal = lambda *_: None,
) -> Published:
    """Publish files as the next version of a model, unless they are its newest version already.

    Args:
        model: `<repository>/<model>`, made where it is missing.
        files: Files of the version, by name.
        config: Text of config.pbtxt, written if there is none.
        check: Function that is called with the folder of the version's files before they are published; what it raises
            is raised.
        seal: Function that is called with the folder and the number with which it is about to be published, or has been
            before; it may add files.

    Raises:
        ExportError: If other exports take every number first.
        PublishingFailed: If it cannot be written; nothing of it remains, which the message says.
    """
    temporary = model / f".publishing-{secrets.token_hex(8)}"
    with _undone_on_failure(model, temporary):
        if not (model / CONFIG).exists():
            write_config(model, config)
        newest = _newest(model)
        if newest is not None and _holds(model / str(newest), files):
            check(model / str(newest))
            seal(model / str(newest), newest)
            return Published(model / str(newest), newest, new=False)
        temporary.mkdir()
        try:
            _write(temporary, files)
            check(temporary)
            return _take_number(model, temporary, files, seal)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # after the rename there is nothing to remove


def _take_number(model: Path, temporary: Path, files: Mapping[str, bytes], seal: Seal) -> Published:
    """Rename to the first free number; if another export takes it first, try the next one."""
    for _ in range(_ATTEMPTS):
        newest = _newest(model)
        if newest is not None and _holds(model / str(newest), files):
            seal(model / str(newest), newest)
            return Published(model / str(newest), newest, new=False)
        number = (newest or 0) + 1
        seal(temporary, number)
        try:
            # Fails if the target is a folder that is not empty, as every version is.
            temporary.rename(model / str(number))
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            continue
        try:
            _sync(model)
        except BaseException:
            # It is to be seen, but may not outlast a power failure. What is told to have failed must not serve.
            (model / str(number)).rename(temporary)
            raise
        return Published(model / str(number), number, new=True)
    raise ExportError(f"others publish versions of {model.name} faster than a number can be taken; try again")


def _newest(model: Path) -> int | None:
    """Give the highest number taken, also by something that is not a version, such as a file or the folder 007."""
    names = (path.name for path in model.iterdir())
    return max((int(name) for name in names if name.isascii() and name.isdigit()), default=None)


def _holds(version: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all((version / name).read_bytes() == data for name, data in files.items())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        try:
            with (folder / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            error.filename = error.filename or str(folder / name)  # which writing leaves out
            raise
    _sync(folder)


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _undone_on_failure(model: Path, temporary: Path) -> Iterator[None]:
    """Make the model's folder; on failure remove what was added, since servers report a model without versions.

    Raises:
        PublishingFailed: In the place of an OSError, to say what is left: nothing, or where it is.
    """
    made = [folder for folder in (model, *model.parents) if not folder.exists()]
    had_config = (model / CONFIG).exists()
    try:
        model.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        left = _undo(model, temporary, made, had_config=had_config)
        if not isinstance(error, OSError):
            raise
        path = f"{error.filename}: " if error.filename else ""
        raise PublishingFailed(
            f"{model}: {path}{error.strerror or error}. Nothing was published, and "
            + (f"this was left behind and may be removed: {left}" if left else "nothing was left behind"),
            error.errno,
        ) from error


def _undo(model: Path, temporary: Path, made: Sequence[Path], *, had_config: bool) -> str:
    """Remove what was added; return what is left of it, which is nothing unless the disk refuses that, too."""
    added = [temporary]
    shutil.rmtree(temporary, ignore_errors=True)
    with suppress(OSError):
        if not had_config and _newest(model) is None:  # otherwise another export needs it
            added.append(model / CONFIG)
            (model / CONFIG).unlink(missing_ok=True)
    for folder in made:
        with suppress(OSError):  # not empty: another export has come
            folder.rmdir()
    return ", ".join(str(path) for path in added if path.exists())


_MODULE = "rnnserve.server.repository.load_checks"
_SECONDS = 180.0
"""How long the trial may take on the clock; the server itself gives a version 60 seconds."""


class OtherGraph(Exception):
    """The version would serve, but on the other graph its answers keep more bits; nothing of it is published."""


def publish_tried(
    model: Path,
    files: Mapping[str, bytes],
    config: str,
    *,
    is_adopted: bool = False,
    seal: Seal = lambda *_: None,
) -> tuple[Published, str]:
    """Publish files as the next version of a model, as `publish_version` does, if the server takes them.

    Returns:
        Where the version is; and why it could not be tried, in one line, where the server is not installed.

    Raises:
        OtherGraph: If its answers keep more bits on the other graph; nothing of it remains.
        ExportError: If the server does not take the version; nothing of it remains.
        OSError: If it cannot be written; nothing of it remains.
    """
    said = []

    def check(folder: Path) -> None:
        try:
            read_config(model)
        except ConfigError as error:
            raise ExportError(_refused(str(error))) from error
        said.append(try_on_server(folder, model.name, is_adopted=is_adopted))

    return publish_version(model, files, config, check, seal), said[-1]


def try_on_server(folder: Path, model: str, *, is_adopted: bool = False) -> str:
    """Try a version's files as a server does before it serves them.

    The server is a second opinion, so none of its code is imported here: it is run by the name of its module.

    Args:
        folder: Folder of the version's files.
        model: The model's name.
        is_adopted: Whether it was adopted from an ONNX file, so that a server takes it with `--allow-unproven` only.

    Returns:
        Why it could not be tried, in one line, where this installation cannot run the server; else nothing.

    Raises:
        OtherGraph: If its answers keep more bits on the other graph.
        ExportError: If the server does not take the version; the message is the server's.
    """
    arguments = [str(folder), "--model", model, *(["--allow-unproven"] if is_adopted else [])]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            # -P: the working directory, which may hold anything, is no place to import from.
            [sys.executable, "-P", "-m", _MODULE, *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(_refused(f"its trial takes more than {_SECONDS:g} s")) from None
    except OSError as error:
        return f"the server's own trial was not made: no process can be started: {error.strerror}"
    try:
        found = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        last = done.stderr.strip().rpartition("\n")[2]
        if last.startswith(("ModuleNotFoundError", "ImportError")) or _MODULE.partition(".")[0] in last:
            return f"the server's own trial was not made, since the server is not installed: {last}"
        raise ExportError(_refused(f"its trial ended {_ending(done.returncode)}: {last}".rstrip(": "))) from None
    if found["serves"]:
        if "better" in found:
            raise OtherGraph
        return ""
    if done.returncode != 1:
        return f"the server's own trial was not made: {found['reason']}"
    raise ExportError(_refused(found["reason"]))


def _refused(reason: str) -> str:
    return f"a server would not serve this version, so nothing is published: {reason}"


def _ending(status: int) -> str:
    return f"with {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
