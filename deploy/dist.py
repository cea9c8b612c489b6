"""Build the wheel and the sdist of the last commit, and test them as a user would install them: `make dist`.

The commit is built twice, in different folders, and both builds must have the same bytes. A wheel built from the sdist
must also have the same bytes. twine checks the metadata as a package index does. Then the wheel is installed outside
the source tree, with each extra in a fresh environment. README's example of your own module runs with `all`, and in
parts: publishing with `export`, serving with `server`, and a call with `client`.
"""

import argparse
import email
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = [
    "differences",
    "members",
    "metadata_mistakes",
    "mistakes",
    "own_module_example",
    "publishing_part",
    "sums",
]

ROOT = Path(__file__).parents[1]
EXTRAS = ("server", "client", "web", "train", "export", "all")
TWINE = ("twine>=6", "readme-renderer[md]>=44")
"""The packages with which a package index checks metadata and renders a README."""
NOT_SHIPPED = ("tests/", "benchmarks/", "docs/", "site/", "examples/", "deploy/", ".bench/", ".venv/")


def members(archive: Path) -> set[str]:
    """Return the names of the files in a wheel, or in an sdist without its top folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return set(wheel.namelist())
    with tarfile.open(archive) as sdist:
        return {entry.name.partition("/")[2] for entry in sdist.getmembers() if entry.isfile()}


def mistakes(names: Iterable[str], package_files: Iterable[str]) -> list[str]:
    """Return missing and superfluous files, a line each.

    Args:
        names: Names of files in a wheel or an sdist.
        package_files: Names of all required files, as in the archive.
    """
    found = set(names)
    wrong = [f"{name} is missing" for name in sorted(set(package_files) - found)]
    if not any(name.rpartition("/")[2] == "LICENSE" for name in found):
        wrong.append("LICENSE is missing")
    return wrong + [f"{name} does not belong in it" for name in sorted(found) if name.startswith(NOT_SHIPPED)]


def metadata_mistakes(wheel: Path, sdist: Path) -> list[str]:
    """Return the gaps in the metadata of a wheel and its sdist, a line each. twine checks the rest."""
    of_wheel = _text_in(wheel, r"[^/]+\.dist-info/METADATA")
    wrong = [] if of_wheel == _text_in(sdist, "PKG-INFO") else ["the metadata of wheel and sdist differ"]
    said = email.message_from_string(of_wheel)
    needed = ("License-Expression", "License-File", "Requires-Python", "Description-Content-Type", "Summary")
    wrong += [f"the metadata have no {field}" for field in needed if said[field] is None]
    if not str(said.get_payload()).strip():
        wrong.append("the metadata have no description")
    for name in said.get_all("License-File", []):
        in_wheel = f"{wheel.name.rsplit('-py3', 1)[0]}.dist-info/licenses/{name}"
        wrong += [f"{name} is missing in {path.name}" for path, file in ((wheel, in_wheel), (sdist, name))
                  if file not in members(path)]  # fmt: skip
    return wrong


def _text_in(archive: Path, name: str) -> str:
    """Return the text of a file whose name matches a regular expression (without an sdist's top folder)."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(next(one for one in wheel.namelist() if re.fullmatch(name, one))).decode()
    with tarfile.open(archive) as sdist:
        entry = next(one for one in sdist.getmembers() if re.fullmatch(name, one.name.partition("/")[2]))
        file = sdist.extractfile(entry)
        return "" if file is None else file.read().decode()


def differences(one: Path, other: Path) -> list[str]:
    """Name the files that differ between two folders, byte for byte."""
    first, second = sums(one), sums(other)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each wheel and sdist in a folder by name."""
    built = [path for path in sorted(folder.iterdir()) if path.name.endswith((".whl", ".tar.gz"))]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built}


def own_module_example(readme: str) -> str:
    """Return the Python block of README that publishes your own module.

    Raises:
        ValueError: If README has no such block.
    """
    for block in re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL):
        if "publish(" in block:
            return str(block)
    raise ValueError("README.md has no Python block that calls publish()")


def publishing_part(example: str) -> str:
    """Return the publishing part of that block, without serving, calls and their imports.

    Raises:
        ValueError: If the block doesn't serve the published model.
    """
    published, served, _ = example.partition("\nwith serve(")
    if not served:
        raise ValueError("README.md does not serve the model that it publishes")
    return re.sub(r"^from rnnserve\.(client|server)\b.*\n", "", published, flags=re.MULTILINE) + "\n"


def _surroundings(**added: str) -> dict[str, str]:
    """Return a command's variables, without the caller's Python settings, which refer to the source tree."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | added


def _run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """Run a command outside of the source tree, and return its output.

    Raises:
        ValueError: If the command fails. The message has its last line.
    """
    line = [str(part) for part in command]
    done = subprocess.run(  # noqa: S603 - no shell
        line, cwd=folder, env=_surroundings(**environment), capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()[-1]
        raise ValueError(f"{' '.join(line)!r} ended with {done.returncode}: {said}")
    return done.stdout


def _build(folder: Path, out: Path, *kinds: str, epoch: str) -> None:
    _run([sys.executable, "-m", "build", *kinds, "--outdir", out, folder], folder, SOURCE_DATE_EPOCH=epoch)


def _unpack_commit(commit: str, folder: Path) -> None:
    command = ["git", "archive", "--format=tar", commit]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout  # noqa: S603
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _make(out: Path, scratch: Path) -> Path:
    """Build twice, compare the builds, check their content, and return the wheel."""
    # Read once, because somebody may commit meanwhile.
    commit, epoch = _run(["git", "log", "-1", "--format=%H %ct"], ROOT).split()
    for name in ("one", "another/folder"):
        _unpack_commit(commit, scratch / name)
        _build(scratch / name, scratch / name / "dist", "--sdist", "--wheel", epoch=epoch)
    built = scratch / "one/dist"
    if unlike := differences(built, scratch / "another/folder/dist"):
        raise ValueError(f"two builds of the same commit differ: {', '.join(unlike)}")
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")

    with tarfile.open(sdist) as archive:
        archive.extractall(scratch / "sdist", filter="data")
    (unpacked,) = (scratch / "sdist").iterdir()
    _build(unpacked, scratch / "from_sdist", "--wheel", epoch=epoch)
    if sums(scratch / "from_sdist").get(wheel.name) != sums(built)[wheel.name]:
        raise ValueError(f"the wheel built from {sdist.name} differs from {wheel.name}")

    tracked = _run(["git", "ls-tree", "-r", "--name-only", commit], ROOT).splitlines()
    areas = [name for name in tracked if re.match(r"\w+/rnnserve/", name)]
    for path, expected in ((wheel, [name.partition("/")[2] for name in areas]), (sdist, areas)):
        if wrong := mistakes(members(path), expected):
            raise ValueError(f"{path.name}: {'; '.join(wrong)}")
    if wrong := metadata_mistakes(wheel, sdist):
        raise ValueError("; ".join(wrong))
    _check_with_twine((wheel, sdist), scratch / "twine")
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("rnnserve-*.whl"), *out.glob("rnnserve-*.tar.gz")):
        old.unlink()  # of another version, because all files here are published together
    for path in (wheel, sdist):
        shutil.copyfile(path, out / path.name)
    lines = [f"{digest}  {name}\n" for name, digest in sums(built).items()]
    (out / "SHA256SUMS").write_text("".join(lines))
    print("".join(lines), end="")
    return out / wheel.name


def _check_with_twine(paths: Sequence[Path], place: Path) -> None:
    """Check the metadata and that the README renders. A warning is an error."""
    venv.create(place, with_pip=True)
    _run([place / "bin/pip", "install", "--quiet", *TWINE], place)
    _run([place / "bin/twine", "--no-color", "check", "--strict", *paths], place)


def _try(wheel: Path, extra: str, scratch: Path) -> None:
    """Install an extra into a fresh environment, and run its part of the example."""
    begun = time.monotonic()
    print(f"dist: {extra}: installing", file=sys.stderr, flush=True)
    place = scratch / extra
    venv.create(place, with_pip=True)
    commands = place / "bin"
    _run([commands / "pip", "install", "--quiet", f"{wheel}[{extra}]"], place)
    _run([commands / "pip", "check"], place)
    said = _run([commands / "rnnserve", "--version"], place).strip()
    example = own_module_example(_text_in(wheel, r"[^/]+\.dist-info/METADATA"))
    if extra in ("all", "export"):
        program = place / "own_module.py"
        program.write_text(example if extra == "all" else publishing_part(example))
        _run([commands / "python", program], place)
    if extra == "all":
        _run([commands / "rnnserve", "demo"], place)
    print(f"{extra}: {said}, {time.monotonic() - begun:.0f} s", flush=True)


def _ask_across(scratch: Path) -> None:
    """Serve the model published with the extra `export` with `server`, and call it with `client`."""
    command = [scratch / "server/bin/rnnserve", "serve", scratch / "export/own_models", "--grpc-port", "0", "--no-http"]
    with (
        Path(scratch, "server.log").open("w+") as log,
        subprocess.Popen(  # noqa: S603 - no shell
            [str(part) for part in command], env=_surroundings(), stdout=subprocess.PIPE, stderr=log, text=True
        ) as server,
    ):
        try:
            address = server.stdout.readline().rpartition(" ")[2].strip() if server.stdout is not None else ""
            if not address:
                log.seek(0)
                raise ValueError(f"the server does not start with the extra `server`: {log.read().strip()[-1000:]}")
            rows = scratch / "rows.json"
            rows.write_text("[[3, 1, 4, 1, 5], [9, 2]]")
            _run([scratch / "client/bin/rnnserve", "infer", "tagger", rows, "--url", address], scratch)
        finally:
            server.terminate()
    print("export, server, client: what one has published, another serves, and a third asks", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, check and test. Print hashes, and a line for each extra."""
    parser = argparse.ArgumentParser(prog="deploy/dist.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for wheel, sdist and SHA256SUMS")
    parser.add_argument("--build-only", action="store_true", help="build, compare and check, without installing")
    parser.add_argument(
        "--extras", nargs="+", choices=EXTRAS, default=EXTRAS, help="extras to install and try (default: all)"
    )
    chosen = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="rnnserve-dist-") as scratch:
            wheel = _make(chosen.out.resolve(), Path(scratch, "build"))
            extras = [] if chosen.build_only else [extra for extra in EXTRAS if extra in chosen.extras]
            for extra in extras:
                _try(wheel, extra, Path(scratch))
            if {"export", "server", "client"} <= {*extras}:
                _ask_across(Path(scratch))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"dist: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
