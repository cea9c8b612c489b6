"""Publish every module of the zoo and print a table of results: `make zoo`, or `python examples/zoo [NAME …]`."""

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from rnnserve.cli import main
from rnnserve.export import publish
from rnnserve.protos.artifact import read_version
from rnnserve.protos.manifest_pb2 import BatchingMode, Manifest

HERE = Path(__file__).parent
HEAD = ("like", "module", "how", "batching", "in parts", "distance from eager")


def published(file: Path, repository: Path) -> tuple[ModuleType, str, Manifest]:
    """Publish the model of a zoo file. Returns its Python module, how it was published, and the manifest."""
    module = ModuleType(f"zoo_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    exec(compile(file.read_text(encoding="utf-8"), file, "exec"), module.__dict__)  # noqa: S102 - a file of this folder
    if hasattr(module, "publication"):
        return module, "as it is", publish(module.publication(), repository=repository, progress=False).manifest
    module.write(repository / f"{file.stem}.onnx")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = main(
            ["import", str(repository / f"{file.stem}.onnx"), "--repository", str(repository), *module.OPTIONS]
        )
    if status:
        raise SystemExit(said.getvalue())
    return module, f"options {' '.join(module.OPTIONS[2:])}", read_version(repository / file.stem / "1").manifest


def row(file: Path, repository: Path) -> tuple[str, ...]:
    """Return a row of the table."""
    module, how, manifest = published(file, repository)
    mode = BatchingMode.Name(manifest.batching.mode).removeprefix("BATCHING_")
    steps = any(axis.name == "sequence" for tensor in manifest.inputs for axis in tensor.axes)
    declared = any(tensor.continues_as for tensor in manifest.outputs)
    parts = manifest.parts.reason and f"no: {manifest.parts.reason}"
    parts = parts or ("yes, states found" if manifest.parts.file else "yes, states declared" if declared else "yes")
    distances = [each.onnx_from_eager_max for each in manifest.parity.distances]
    distance = f"{max(distances):.1e}" if distances else "equal" if hasattr(module, "publication") else "a file alone"
    return module.WRITTEN_LIKE, f"`{file.stem}`", how, mode, parts if steps or declared else "no sequence", distance


def table(names: list[str]) -> str:
    """Publish the modules of these names, or all, and return the table in Markdown."""
    files = [file for file in sorted(HERE.glob("[a-z]*.py")) if not names or file.stem in names]
    with tempfile.TemporaryDirectory() as repository:
        rows = [HEAD, ("---",) * len(HEAD), *(row(file, Path(repository)) for file in files)]
    return "\n".join(f"| {' | '.join(each)} |" for each in rows)


if __name__ == "__main__":
    print(table(sys.argv[1:]))
