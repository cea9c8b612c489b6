"""The ladder's last rungs, shapes and values, over many batches: TorchScript bit for bit, ONNX by kind of input."""

import numpy as np
import numpy.typing as npt
import torch

from rnnserve.export.limits import Limits
from rnnserve.export.parity.distances import Distances
from rnnserve.export.parity.draws import Draw
from rnnserve.export.parity.failures import Failures
from rnnserve.export.parity.reference import Reference, call
from rnnserve.export.parity.runner import Arrays, Runner
from rnnserve.protos.differences import scale

__all__ = ["Values"]


class Values:
    """Compares batch by batch, and judges at the end what only many samples can tell.

    Attributes:
        distances: between ONNX, eager and float64, so far.
        refused: whether onnxruntime refused to run any batch.
    """

    def __init__(self, reference: Reference, limits: Limits, failures: Failures) -> None:
        self.distances = Distances()
        self.refused = False
        self._reference = reference
        self._limits = limits
        self._failures = failures
        self._draws: list[Draw] = []
        self._logits: list[tuple[Draw, Arrays, Arrays, npt.NDArray[np.float64]]] = []

    def compare(self, draw: Draw, script: torch.jit.ScriptModule, runner: Runner | None) -> None:
        """Run a batch everywhere and compare; without a runner, only TorchScript with eager."""
        eager = self._reference.eager(draw.inputs)
        self._compare_script(draw, script, eager)
        if runner is None:
            return
        try:
            found = runner(draw.inputs)
        except RuntimeError as error:
            self._failures.refused(f"onnx, {draw.kind}", error, draw)
            self.refused = True
            return
        self._draws.append(draw)
        self._compare_onnx(draw, found, eager, self._reference.exact(draw.inputs))

    def judge(self) -> None:
        """Judge distances from float64, and labels, once every batch was compared.

        Rounding is amplified by far the most in few rows, and in these one run may have luck. So where ONNX comes to
        more than eager, eager is asked again; unless ONNX is already known to be wrong.
        """
        rows = self.distances.rows
        if not len(self._failures):
            for kind, length in {
                (k, length): None for (k, _, length), row in rows.items() if row.failure(self._limits)
            }:
                self._ask_again(kind, length)
        for (kind, name, length), row in rows.items():
            failure = row.failure(self._limits)
            if failure:
                self._failures.add(f'onnx, {kind}: "{name}" at sequence {length}: {failure}')
        for draw, found, eager, exact in self._logits:
            self._judge_labels(draw, found["logits"], eager["logits"], exact)

    def _ask_again(self, kind: str, length: int) -> None:
        for draw in self._draws:
            if (draw.kind, draw.length) != (kind, length):
                continue
            lengths, exact = draw.inputs["lengths"], self._reference.exact(draw.inputs)
            for outputs in self._reference.moved(draw.inputs):
                for name, moved in outputs.items():
                    if (kind, name, length) in self.distances.rows:
                        self.distances.add_moved(kind, name, lengths, moved=moved, exact=exact[name])

    def _compare_script(self, draw: Draw, script: torch.jit.ScriptModule, eager: Arrays) -> None:
        results = call(script, draw.inputs, torch.float32)
        if len(results) != len(eager):
            self._failures.add(f"torchscript, names: forward gives {len(results)} tensors; expected {', '.join(eager)}")
            return
        for (name, expected), found in zip(eager.items(), results, strict=True):
            if self._failures.form("torchscript", name, found, expected, draw):
                self._failures.near("torchscript, bit for bit", name, found, expected, 0.0, draw)

    def _compare_onnx(self, draw: Draw, found: Arrays, eager: Arrays, exact: Arrays) -> None:
        lengths = draw.inputs["lengths"]
        for name, expected in eager.items():
            if name not in found:  # which the names' rung has said
                continue
            if not self._failures.form("onnx", name, found[name], expected, draw):
                continue
            limit = self._limit(draw.kind, name) * scale(expected)
            self._failures.near(f"onnx, {draw.kind}", name, found[name], expected, limit, draw)
            if name == "output":
                behind = np.arange(draw.length) >= lengths[:, None]
                garbage = np.where(behind[..., None], found[name], 0)
                self._failures.near("onnx, zeros behind lengths", name, garbage, np.zeros_like(garbage), 0.0, draw)
            self.distances.add(draw.kind, name, lengths, found=found[name], eager=expected, exact=exact[name])
            if name == "logits":
                self._logits.append((draw, found, eager, exact[name]))

    def _limit(self, kind: str, name: str) -> float:
        """How far from eager any one value may lie; where rounding may be amplified, float64 alone is the judge."""
        if kind == "step":
            return self._limits.step_logits if name == "logits" else self._limits.step_state
        return self._limits.walk if (kind, name) == ("walk", "logits") else np.inf

    def _judge_labels(
        self,
        draw: Draw,
        found: npt.NDArray[np.float32],
        eager: npt.NDArray[np.float32],
        exact: npt.NDArray[np.float64],
    ) -> None:
        """Labels are equal unless rounding can turn them: float64's first two classes nearer than eager's errors."""
        if exact.shape[1] == 1:
            return
        row = self.distances.rows[draw.kind, "logits", draw.length]
        rounding = self._limits.sequence_rms_factor * row.rounding.largest + self._limits.step_logits * row.scale
        first_two = np.sort(exact, axis=1)[:, -2:]
        decided = first_two[:, 1] - first_two[:, 0] > 2 * rounding
        for side, logits in (("onnx", found), ("eager", eager)):
            wrong = np.flatnonzero(decided & (logits.argmax(axis=1) != exact.argmax(axis=1)))
            if wrong.size:
                at = int(wrong[0])
                self._failures.add(
                    f'{side}, labels: row {at} of {draw}: "logits" {logits[at].tolist()} say class '
                    f"{int(logits[at].argmax())}, expected {int(exact[at].argmax())} as in float64"
                )
