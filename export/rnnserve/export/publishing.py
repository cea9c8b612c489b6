"""Publish versions atomically: one rename makes a complete version appear in the repository.

Before the rename, the files are in a folder whose name starts with a dot, so that servers ignore it. If an export is
killed, this folder stays and you can remove it. If the model has no config.pbtxt, which Triton and our own server read,
publishing writes one.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import text_encoding

from rnnserve.common.extras import missing_package
from rnnserve.export.errors import ExportError, PublishingFailed, WrongArguments
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.signing.signed_version import (
    SignatureError,
    read_signed_in_place,
    sign_version,
    write_release,
)
from rnnserve.protos.triton_config import CONFIG, ConfigError, MissingConfigError, check_tensors, read_config

if TYPE_CHECKING:  # the module imports torch
    from rnnserve.export.description.publication import Publication

__all__ = [
    "OtherGraph",
    "Published",
    "Seal",
    "check_config",
    "publish_tried",
    "publish_version",
    "render_config",
    "seal_with",
    "triton_keeps_states",
    "try_on_server",
    "write_config",
]

Seal = Callable[[Path, int], object]
"""Completes a version's folder just before it is published under a number, for example by signing it."""

_Tensors = Sequence[manifest_pb2.Tensor]

_ATTEMPTS = 100
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)

_TRIAL = "rnnserve.server.repository.load_checks"
_SECONDS = 180.0
"""Elapsed time allowed for the server's load check, in seconds. The server itself allows 60 seconds per version."""


def seal_with(key_file: Path | str | None, password_file: Path | str | None = None) -> Seal:
    """Return a function that signs versions, for the parameter `seal` of `publish`.

    The function takes the version's folder and number. It keeps an existing signature if that was made with the same
    key and covers the current config.

    Args:
        key_file: Private key in PEM format, on the elliptic curve P-256 or P-384. None to sign nothing.
        password_file: File with the key's password in its first line. None for a key without a password.

    Raises:
        ArtifactError: If the key can't be read.
        ExportError: If the package `cryptography` is missing, or if there is a password but no key.

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
            raise ExportError("a password was given without a key to sign with; add the key (--sign-key)")
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


@dataclass(frozen=True)
class Published:
    """Location of a published version.

    Attributes:
        folder: `<repository>/<model>/<version>`.
        version: The version's number.
        new: False if the newest version already had these files.
    """

    folder: Path
    version: int
    new: bool


class OtherGraph(Exception):
    """The server accepts the version, but responses keep more bits on the other graph. Nothing is published."""


def publish_tried(
    model: Path,
    files: Mapping[str, bytes],
    config: str,
    *,
    is_imported: bool = False,
    seal: Seal = lambda *_: None,
) -> tuple[Published, str]:
    """Publish files with `publish_version` if the server accepts them. Also returns why no load check was possible.

    Raises OtherGraph, ExportError if the server rejects the version, or OSError. After any error, nothing of the
    version remains.
    """
    said = []

    def check(folder: Path) -> None:
        try:
            read_config(model)
        except ConfigError as error:
            raise ExportError(_refused(str(error))) from error
        said.append(try_on_server(folder, model.name, is_imported=is_imported))

    return publish_version(model, files, config, check, seal), said[-1]


def publish_version(
    model: Path,
    files: Mapping[str, bytes],
    config: str,
    check: Callable[[Path], object] = lambda _: None,
    seal: Seal = lambda *_: None,
) -> Published:
    """Publish files as the next version of a model, `<repository>/<model>`, unless its newest version has these files.

    If the model has no config.pbtxt, `config` is its text. Before publishing, `check` is called with the folder of the
    files, and its errors propagate. `seal` may add files. If writing fails, raises PublishingFailed and removes all
    files.
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
            shutil.rmtree(temporary, ignore_errors=True)  # already gone if the rename succeeded


def _take_number(model: Path, temporary: Path, files: Mapping[str, bytes], seal: Seal) -> Published:
    """Rename the folder to the first free number. If another export takes this number first, try the next one."""
    for _ in range(_ATTEMPTS):
        newest = _newest(model)
        if newest is not None and _holds(model / str(newest), files):
            seal(model / str(newest), newest)
            return Published(model / str(newest), newest, new=False)
        number = (newest or 0) + 1
        seal(temporary, number)
        try:
            # The rename fails if the target is a folder with files, such as another version.
            temporary.rename(model / str(number))
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            continue
        try:
            _sync(model)
        except BaseException:
            # The version is visible, but may be lost in a power failure. A failed version must not be served.
            (model / str(number)).rename(temporary)
            raise
        return Published(model / str(number), number, new=True)
    raise ExportError(
        f"other processes are publishing versions of {model.name} at the same time and took all numbers; try again"
    )


def _newest(model: Path) -> int | None:
    """Find the highest number in use. Other entries than versions count as well, such as a file or the folder 007."""
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
            error.filename = error.filename or str(folder / name)  # write errors lack the file name
            raise
    _sync(folder)


def _sync(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _undone_on_failure(model: Path, temporary: Path) -> Iterator[None]:
    """Create the model's folder. On failure, remove all additions, because servers report a model without versions.

    An OSError becomes `PublishingFailed`. Its message names the files that could not be removed, if there are any.
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
            + (f"these files were left behind, and you can remove them: {left}" if left else "nothing was left behind"),
            error.errno,
        ) from error


def _undo(model: Path, temporary: Path, made: Sequence[Path], *, had_config: bool) -> str:
    """Remove all additions. Returns the paths that could not be removed, separated by commas."""
    added = [temporary]
    shutil.rmtree(temporary, ignore_errors=True)
    with suppress(OSError):
        if not had_config and _newest(model) is None:  # else another export needs the config
            added.append(model / CONFIG)
            (model / CONFIG).unlink(missing_ok=True)
    for folder in made:
        with suppress(OSError):  # not empty if another export has added files
            folder.rmdir()
    return ", ".join(str(path) for path in added if path.exists())


def try_on_server(folder: Path, model: str, *, is_imported: bool = False) -> str:
    """Run the server's load check on a version's files. Returns a one-line reason if the check could not run.

    The server is an independent check, so this file imports none of its code and runs its module by name. Raises
    ExportError with the server's message if the server rejects the version.
    """
    arguments = [str(folder), "--model", model, *(["--allow-unproven"] if is_imported else [])]
    untried = "the server did not load the version"
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            # -P: don't import from the working directory, which may contain any files.
            [sys.executable, "-P", "-m", _TRIAL, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
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
        return f"{untried}: no process could be started: {error.strerror}"
    try:
        found = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        last, status = done.stderr.strip().rpartition("\n")[2], done.returncode
        if last.startswith(("ModuleNotFoundError", "ImportError")) or _TRIAL.partition(".")[0] in last:
            return f"{untried}, because the server is not installed: {last}"
        ending = f"with {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        raise ExportError(_refused(f"its trial ended {ending}: {last}".rstrip(": "))) from None
    if found["serves"] and "better" in found:
        raise OtherGraph
    if not found["serves"] and done.returncode == 1:
        raise ExportError(_refused(found["reason"]))
    return "" if found["serves"] else f"{untried}: {found['reason']}"


def _refused(reason: str) -> str:
    return f"a server would refuse this version, so nothing was published: {reason}"


def check_config(model: Path, inputs: _Tensors, outputs: _Tensors) -> None:
    """Raise ConfigError if the model has a config.pbtxt with other tensors."""
    with suppress(MissingConfigError):  # publishing writes it
        check_tensors(read_config(model), inputs, outputs)


def triton_keeps_states(publication: "Publication", inputs: _Tensors, sizes: Collection[str]) -> bool:
    """Decide whether Triton keeps the model's states. Raises WrongArguments if the user asks for it but it can't."""
    if publication.sequences and not publication.states:
        raise WrongArguments("sequences: the model has no declared states to keep; name them with states=")
    kept = publication.states.values()
    begin = [t.name for t in inputs if t.name in kept and t.default != manifest_pb2.DEFAULT_ZEROS]
    if publication.sequences and begin:
        raise WrongArguments(
            f'sequences: Triton begins with zeros, and the state "{begin[0]}" of this model has another initial value'
        )
    if publication.sequences is not None:
        return publication.sequences
    only_states = all(tensor.name in kept for tensor in inputs)  # Triton rejects requests without inputs
    return bool(publication.states) and set(sizes) == {BATCH} and not begin and not only_states


def render_config(name: str, inputs: _Tensors, outputs: _Tensors, *, keeps_states: bool = False) -> str:
    """Write the text of a model's config. `dims` are complete shapes, with -1 for sizes that depend on the request.

    If Triton keeps the states between the requests of a sequence, the states aren't listed as inputs.
    """
    initial = {tensor.continues_as: tensor for tensor in outputs if tensor.continues_as} if keeps_states else {}
    lines = [
        f"# Written once by `rnnserve export`. You can edit it, except for the tensors of {name}.",
        f'name: "{name}"',
        'platform: "onnxruntime_onnx"',
        "",
        "# 0: the dims below are whole shapes. With another number Triton would put a batch axis before them.",
        "max_batch_size: 0",
    ]
    for tensor in inputs:
        if tensor.name in initial:
            continue
        more = []
        if tensor.default in (manifest_pb2.DEFAULT_FULL_LENGTH, manifest_pb2.DEFAULT_ZEROS):
            more = ["optional: true"]
        elif tensor.default == manifest_pb2.DEFAULT_RECORDED:
            left_out = f"the model's own default ({DEFAULTS}) if a request leaves it out"
            more = [f"# rnnserve takes {left_out}; Triton needs it"]
        lines += _block("input", tensor, more)
    for tensor in outputs:
        lines += _block("output", tensor, [])
    if initial:
        lines += ["", "# Every request belongs to a sequence, whose states Triton keeps: zeros at its start."]
        lines += ["sequence_batching {"]
        for tensor in (tensor for tensor in inputs if tensor.name in initial):
            lines += _state(tensor, initial[tensor.name].name)
        lines += ["}"]
    lines += ["", "version_policy { latest { num_versions: 1 } }"]
    return "\n".join(lines) + "\n"


def write_config(folder: Path, text: str) -> Path:
    """Write `<folder>/config.pbtxt` completely or not at all, and return its path."""
    temporary = folder / f".{CONFIG}-{secrets.token_hex(8)}"
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return temporary.replace(folder / CONFIG)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _state(tensor: manifest_pb2.Tensor, final: str) -> list[str]:
    """Write the lines of a state. Triton needs all sizes of the initial zeros, so the batch size here is 1."""
    sizes, zeros = (
        ", ".join(str(axis.size if axis.size >= 0 else any_size) for axis in tensor.axes) for any_size in (-1, 1)
    )
    return [
        "  state {",
        f'    input_name: "{_escaped(tensor.name)}"',
        f'    output_name: "{_escaped(final)}"',
        f"    data_type: TYPE_{tensor.datatype}",
        f"    dims: [ {sizes} ]",
        f'    initial_state {{ name: "zeros" data_type: TYPE_{tensor.datatype} dims: [ {zeros} ] zero_data: true }}',
        "  }",
    ]


def _escaped(name: str) -> str:
    """Escape a name for a quoted string in protobuf text format. Tensor names in ONNX files may be any text."""
    return text_encoding.CEscape(name.encode(), as_utf8=True)


def _block(kind: str, tensor: manifest_pb2.Tensor, more: list[str]) -> list[str]:
    sizes = ", ".join(str(axis.size) for axis in tensor.axes)
    fields = [
        f'name: "{_escaped(tensor.name)}"',
        f"data_type: TYPE_{tensor.datatype}",
        f"dims: [ {sizes} ]  # {', '.join(_escaped(axis.name) for axis in tensor.axes)}",
        *more,
    ]
    return ["", f"{kind} {{", *(f"  {field}" for field in fields), "}"]
