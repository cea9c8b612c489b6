"""The gain from folding a one-step file: a bare `session.run` loop, stepping through a server, and the folded model.

    python -m benchmarks.folded_steps            # a voice activity detector like silero-vad: Conv1d and an LSTM cell
    python -m benchmarks.folded_steps --streams 32 --steps 32 --rounds 5

All three compute the same steps, in turns. One server has both models. The clients and the server share one process,
and the bare loop runs in this process as well. So the program compares the cost of a step.
"""

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from rnnserve.client import AsyncClient
from rnnserve.export.onnx_import import Roles, import_onnx
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve

_SAMPLES, _HIDDEN = 256, 128


class _Step(nn.Module):
    """A window of sound, an LSTM cell, and the probability of speech."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.cell, self.speech = (
            nn.Conv1d(1, 32, 8, stride=4),
            nn.LSTMCell(32, _HIDDEN),
            nn.Linear(128, 1),
        )

    def forward(self, sound: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return speech (batch, 1) and the next state (2, batch, hidden) for sound (batch, samples) and a state."""
        features = torch.relu(self.features(sound.unsqueeze(1))).mean(-1)
        h, c = self.cell(features, (state[0], state[1]))
        return torch.sigmoid(self.speech(h)), torch.stack([h, c])


def _write(file: Path) -> None:
    torch.manual_seed(0)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Step().eval(),
            (torch.zeros(3, _SAMPLES), torch.zeros(2, 3, _HIDDEN)),
            verbose=False,
            input_names=["sound", "state"],
            output_names=["speech", "state_n"],
            dynamic_shapes=({0: "batch"}, {1: "batch"}),
        )
    assert program is not None  # noqa: S101 - torch returns None for its older exporter only
    program.save(file)


def _bare_loop(file: Path, sounds: np.ndarray) -> np.ndarray:
    """Step each stream separately, as a caller of the file does."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    run = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]).run
    found = []
    for sound in sounds:
        state, answers = np.zeros((2, 1, _HIDDEN), np.float32), []
        for window in sound:
            speech, state = run(None, {"sound": window[None], "state": state})
            answers.append(speech[0])
        found.append(answers)
    return np.array(found)


async def _stepped(client: AsyncClient, sound: np.ndarray) -> list[np.ndarray]:
    async with client.session("stepped") as session:
        return [np.asarray((await session.step(window))["speech"]) for window in sound]


async def _all_stepped(address: str, sounds: np.ndarray) -> np.ndarray:
    async with AsyncClient(address) as client:
        return np.array(await asyncio.gather(*(_stepped(client, sound) for sound in sounds)))


async def _all_folded(address: str, sounds: np.ndarray) -> np.ndarray:
    async with AsyncClient(address) as client:
        answers = await asyncio.gather(*(client.predict("folded", [sound]) for sound in sounds))
        return np.array([answer[0]["speech"] for answer in answers])


def main() -> None:
    """Measure, and print steps per second and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=32, help="streams at once (default 32)")
    parser.add_argument("--steps", type=int, default=32, help="steps per stream, and per folded request (default 32)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each variant (default 5)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, repository = Path(folder) / "step.onnx", Path(folder) / "repository"
        _write(file)
        states = {"state_n": "state"}
        import_onnx(file, "stepped", repository, Roles(states=states))
        import_onnx(file, "folded", repository, Roles(states=states, fold="steps"))
        sounds = np.random.default_rng(0).standard_normal((args.streams, args.steps, _SAMPLES), np.float32)
        with serve(repository, Settings(provider="cpu", allow_unproven=True)) as server:
            ways: dict[str, Callable[[], np.ndarray]] = {
                "bare loop": lambda: _bare_loop(file, sounds),
                "stepped": lambda: asyncio.run(_all_stepped(server.address, sounds)),
                "folded": lambda: asyncio.run(_all_folded(server.address, sounds)),
            }
            expected = ways["bare loop"]()
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(args.rounds):
                for name, way in ways.items():
                    began = time.perf_counter()
                    found = way()
                    rates[name].append(sounds.shape[0] * sounds.shape[1] / (time.perf_counter() - began))
                    if not np.array_equal(found.reshape(expected.shape), expected):
                        raise SystemExit(f"{name}: the bits differ from those of the bare loop")
    for name, of in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["folded"], of, strict=True))
        print(f"{name:10} {statistics.median(of):10,.0f} steps/s   folded: {ratio:.2f} x")


if __name__ == "__main__":
    main()
