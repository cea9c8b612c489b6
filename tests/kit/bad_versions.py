"""Versions that no server can serve, each in a way of its own, to be planted beside a good one."""

import hashlib
import io
import os
import socket
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from kit.artifacts import LIMITS, build_model, publish_model, tensor
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import FORMAT, GOLDEN, MANIFEST, MODEL, SCAN, describe_file, dump_manifest
from rnnserve.protos.golden import Case, dump_cases

INPUTS = [tensor("input", "FP32", "batch", "sequence", ("features", 2))]
OUTPUTS = [tensor("output", "FP32", "batch", "sequence", ("features", 2))]
SAMPLE = {"input": np.ones((2, 3, 2), np.float32)}
RESULT = 2 * SAMPLE["input"]
TWICE = build_model("output = Add (input, input)", INPUTS, OUTPUTS, {})


def publish_good(repository: Path, name: str = "good", version: int = 1) -> Path:
    """A version that serves: twice its input."""
    return publish_model(repository, name, TWICE, INPUTS, OUTPUTS, [SAMPLE], version=version)


def publish_bytes(
    repository: Path, name: str, files: Mapping[str, bytes], *listed: manifest_pb2.File, graph: str = SCAN
) -> Path:
    """A version of any files, with a manifest whose digests hold, and which lets `graph` serve where there are two."""
    folder = publish_good(repository, name)
    files = {MODEL: TWICE, GOLDEN: _golden(), **files}
    described = [describe_file(file, data) for file, data in sorted(files.items())]
    manifest = manifest_pb2.Manifest(
        format=FORMAT,
        model=name,
        inputs=INPUTS,
        outputs=OUTPUTS,
        files=[*described, *listed],
        replay_limits=[LIMITS],
        batching=manifest_pb2.Batching(mode=manifest_pb2.BATCHING_JOINED),
        graph=manifest_pb2.ServingGraph(file=graph, reason="it was decided so") if SCAN in files and graph else None,
    )
    for file, data in {**files, MANIFEST: dump_manifest(manifest)}.items():
        (folder / file).write_bytes(data)
    return folder


def _golden(case: Case | None = None) -> bytes:
    return dump_cases([case or Case("step", SAMPLE, {"output": RESULT}, {"output": RESULT.astype(np.float64)})])


def _graph(nodes: str, **constants: np.ndarray) -> bytes:
    return build_model(f"twice = Add (input, input)  {nodes}", INPUTS, OUTPUTS, constants)


_LOOP = """output = Loop <body = body (int64 step, bool was_on, float x) => (bool on_again, float y)
    { on_again = Identity (was_on)  y = Identity (x) }> ("", on, twice)"""
"""Copies "twice" for as long as "on" holds."""

# Without end for every input.
ENDLESS = _graph(_LOOP, on=np.array(True))

# Without end for values beyond 1e30, which no load check draws.
ENDLESS_FOR_LARGE = _graph(
    f"largest = ReduceMax <keepdims = 0> (input)  on = Greater (largest, limit)  {_LOOP}",
    limit=np.array(1e30, np.float32),
)

# Without end for more than three rows, which the golden case does not have: trials draw them.
_ENDLESS_FOR_MANY = _graph(
    f"rows = Shape <start = 0, end = 1> (input)  count = Squeeze (rows)  on = Greater (count, three)  {_LOOP}",
    three=np.array(3),
)

# 10 GB of ones, of which the largest is kept.
_ENORMOUS = _graph(
    """
    ones = ConstantOfShape <value = float[1] {1}> (size)  more_ones = Mul (ones, ones)
    one = ReduceMax <keepdims = 0> (more_ones)  output = Mul (twice, one)
    """,
    size=np.array([2_500_000_000]),
)

# A GRU without rows: onnxruntime ends the process with SIGABRT.
ABORTING = _graph(
    """
    no_rows = Slice (input, zero, zero, axis)  all, h = GRU <hidden_size = 2> (no_rows, w, r)
    sum = ReduceSum <keepdims = 0> (h)  output = Add (twice, sum)
    """,
    zero=np.array([0]),
    axis=np.array([1]),
    w=np.ones((1, 6, 2), np.float32),
    r=np.ones((1, 6, 2), np.float32),
)


def _plant_files(files: Mapping[str, bytes]) -> Callable[[Path, str], object]:
    return lambda repository, name: publish_bytes(repository, name, files)


def _plant_instead(file: str, make: Callable[[Path], object]) -> Callable[[Path, str], object]:
    """Something else in the place of a file that was published."""

    def plant(repository: Path, name: str) -> None:
        folder = publish_good(repository, name)
        path = (folder.parent if file == "config.pbtxt" else folder) / file
        path.unlink()
        make(path)

    return plant


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _listen(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the names of sockets have 108 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def bomb(*, lying: bool) -> bytes:
    """256 MB of zeros as 0.3 MB. Lying: the directory says that it is 128 bytes."""
    buffer, size = io.BytesIO(), 256 << 20
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (size // 4,)})
    block = bytes(1 << 20)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("000/step/inputs/input.npy", "w", force_zip64=True) as file:
            file.write(header.getvalue())
            for _ in range(size // len(block)):
                file.write(block)
        if lying:
            archive.infolist()[0].file_size = 128
    return buffer.getvalue()


def _archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def _outputs(array: np.ndarray) -> bytes:
    return _golden(Case("step", SAMPLE, {"output": array}, {"output": array.astype(np.float64)}))


def _with_nul(repository: Path, name: str) -> None:
    publish_bytes(repository, name, {}, describe_file("more\0", b""))


def _deep_manifest(repository: Path, name: str) -> None:
    folder = publish_good(repository, name)
    text = b'{"self_sha256": "' + b"0" * 64 + b'", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (folder / MANIFEST).write_bytes(text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode()))


BAD_GRAPHS: Mapping[str, tuple[Callable[[Path, str], object], str]] = {
    "endless": (_plant_files({MODEL: ENDLESS}), r"did not load within \d+ s \(--load-timeout\)"),
    "endless_for_many": (_plant_files({MODEL: _ENDLESS_FOR_MANY}), r"did not load within \d+ s \(--load-timeout\)"),
    "endless_scan": (_plant_files({SCAN: ENDLESS}), r"did not load within \d+ s \(--load-timeout\)"),
    "enormous": (_plant_files({MODEL: _ENORMOUS}), r"needs more than [\d,]+ bytes of memory"),
    "aborting": (_plant_files({MODEL: ABORTING}), "ended the process that tried it with SIG[A-Z]+"),
    "aborting_scan": (_plant_files({SCAN: ABORTING}), "ended the process that tried it with SIG[A-Z]+"),
}
"""By name: what plants a version whose graph is run at a cost, and a pattern of the reason why it does not serve."""

_NO_FILE = "is not a regular file"
_NO_RESULTS = "golden.npz: does not contain golden results: "

BAD_FILES: Mapping[str, tuple[Callable[[Path, str], object], str]] = {
    "garbage": (_plant_files({MODEL: b"\x08\x07 no model"}), "model.onnx: onnxruntime cannot load it: "),
    "sparse": (
        _plant_instead(MODEL, _sparse),
        "model.onnx: cannot be read: has 1,099,511,627,776 bytes; the limit is ",
    ),
    "pipe_manifest": (_plant_instead(MANIFEST, os.mkfifo), f"manifest.json: cannot be read: {_NO_FILE}"),
    "socket": (_plant_instead(MODEL, _listen), f"model.onnx: cannot be read: {_NO_FILE}"),
    "zero_device": (
        _plant_instead(MODEL, lambda p: p.symlink_to("/dev/zero")),
        f"model.onnx: cannot be read: {_NO_FILE}",
    ),
    "dangling": (_plant_instead(MODEL, lambda p: p.symlink_to("nowhere")), "model.onnx: is missing"),
    "folder": (_plant_instead(GOLDEN, Path.mkdir), "golden.npz: cannot be read: Is a directory"),
    "binary_config": (_plant_instead("config.pbtxt", lambda p: p.write_bytes(b"\xff\xfe")), "config.pbtxt: "),
    "bomb": (lambda r, n: publish_bytes(r, n, {GOLDEN: bomb(lying=False)}), f"{_NO_RESULTS}has "),
    "lying_bomb": (lambda r, n: publish_bytes(r, n, {GOLDEN: bomb(lying=True)}), _NO_RESULTS),
    "claims": (
        _plant_files({GOLDEN: _archive("000/step/inputs/input.npy", _npy(RESULT).replace(b"(2, 3, 2)", b"(9, 9, 9)"))}),
        _NO_RESULTS,
    ),
    "pickle": (
        _plant_files({GOLDEN: _archive("000/step/inputs/input.npy", _npy(np.array([{}], object)))}),
        _NO_RESULTS,
    ),
    "other_dtype": (_plant_files({GOLDEN: _outputs(RESULT.astype(np.int32))}), "golden.npz: "),
    "other_values": (_plant_files({GOLDEN: _outputs(RESULT + 1)}), "golden.npz: model.onnx does not reproduce these "),
    "no_rows": (
        _plant_files(
            {GOLDEN: _golden(Case("step", {"input": RESULT[:0]}, {"output": RESULT[:0]}, {"output": RESULT[:0]}))}
        ),
        "golden.npz: ",
    ),
    "nul": (_with_nul, "manifest.json: lists 'more"),
    "deep_manifest": (_deep_manifest, "manifest.json: is not a valid manifest: "),
}
"""By name: what plants a version with files that are not what they should be, and what the reason begins with."""
