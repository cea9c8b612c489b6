"""Make the Python stubs from the .proto files, or check that the committed stubs are up to date.

usage: python protos/generate.py [--check]
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
STUBS = Path("rnnserve/protos")
SERVICES = {"inference.proto"}  # only these files define a service, so that gRPC needs stubs

# Lines of protoc, and their replacements: protoc has no option for our own descriptor pool (see
# rnnserve/protos/descriptor_pool.py). Our pool lacks google.protobuf's messages, which no .proto file imports.
OWN_POOL = {
    "from google.protobuf import descriptor_pool as _descriptor_pool": (
        "from rnnserve.protos import descriptor_pool as _descriptor_pool"
    ),
    "DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile(": (
        "DESCRIPTOR = _descriptor_pool.POOL.AddSerializedFile("
    ),
}


def generate(into: Path) -> None:
    """Write the stubs of every .proto file below `into`."""
    for proto in sorted((ROOT / STUBS).glob("*.proto")):
        outputs = ["--python_out", "--mypy_out"]
        if proto.name in SERVICES:
            outputs += ["--grpc_python_out", "--mypy_grpc_out"]
        plugins = [
            f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}"
            for name in ("mypy", "mypy_grpc")
        ]
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *plugins]
        command += [f"{output}={'quiet:' if 'mypy' in output else ''}{into}" for output in outputs]
        subprocess.run([*command, str(STUBS / proto.name)], cwd=ROOT, check=True)  # noqa: S603 - our own files
        use_own_pool(into / STUBS / f"{proto.stem}_pb2.py")


def use_own_pool(stub: Path) -> None:
    """Replace the default descriptor pool by our own in a generated module.

    Raises:
        ValueError: The module does not have the lines to replace, so protoc has changed.
    """
    text = stub.read_text(encoding="utf-8")
    for written, wanted in OWN_POOL.items():
        if text.count(written) != 1:
            raise ValueError(
                f"{stub.name}: expected {written!r} exactly once, but found it {text.count(written)} times"
            )
        text = text.replace(written, wanted)
    stub.write_text(text, encoding="utf-8")


def main() -> int:
    """Run the command line. The exit status is 1 if committed stubs have drifted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if the committed stubs differ")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        made, kept = Path(scratch) / STUBS, ROOT / STUBS
        names = {path.name for folder in (made, kept) for path in folder.glob("*_pb2*.py*")}
        same, _, _ = filecmp.cmpfiles(made, kept, names, shallow=False)
    drifted = sorted(names.difference(same))
    if drifted:
        print(f"stubs have drifted from their .proto files: {', '.join(drifted)}; run `make protos`", file=sys.stderr)
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
