"""Comparing shapes and values over many batches: TorchScript bit for bit, ONNX by kind of input.

A trained recurrence amplifies rounding, so each kind of input has a rule of its own (docs/findings.md, "Comparing
recurrent models"): single steps and walks are compared with eager, value by value; whole sequences with float64, by
root mean square over all their rows.
"""

import numpy as np
import numpy.typing as npt
import torch

from rnnserve.export.limits import ParityLimits
from rnnserve.export.parity.distances import Distances
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.export.parity.onnx_runner import Arrays, OnnxRunner
from rnnserve.export.parity.reference import Reference, run_module
from rnnserve.protos.differences import scale

__all__ = ["ValueComparison"]


class ValueComparison:
    """Compares batch by batch, and judges at the end what needs many samples.

    Attributes:
        distances: Between ONNX, eager and float64, so far.
        refused: Whether onnxruntime refused to run any batch.
    """

    def __init__(self, reference: Reference, limits: ParityLimits, failures: FailureCollector) -> None:
        """Start with no batches.

        Args:
            reference: The classifier.
            limits: For the device that the ONNX model runs on.
            failures: What differs is added to it.
        """
        self.distances = Distances()
        self.refused = False
        self._reference = reference
        self._limits = limits
        self._failures = failures
        self._batches: list[InputBatch] = []
        # For each batch its logits (batch, classes): ONNX's float32, eager's float32, float64's.
        self._logits: list[tuple[InputBatch, npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float64]]]
        self._logits = []

    def compare(self, batch: InputBatch, script: torch.jit.ScriptModule, runner: OnnxRunner | None) -> None:
        """Compute a batch in every way and compare the results.

        Args:
            batch: Inputs of the classifier.
            script: Compared with eager, bit for bit.
            runner: The ONNX model; None if it cannot be loaded.
        """
        eager = self._reference.eager(batch.inputs)
        self._compare_script(batch, script, eager)
        if runner is None:
            return
        try:
            found = runner(batch.inputs)
        except RuntimeError as error:
            self._failures.add_refusal(f"onnx, {batch.kind}", error, batch)
            self.refused = True
            return
        self._batches.append(batch)
        self._compare_onnx(batch, found, eager, self._reference.exact(batch.inputs))

    def judge(self) -> None:
        """Judge distances from float64, and labels, after every batch was compared.

        Few rows amplify rounding far more than the others, and in these a single run of eager may be close to float64
        by luck. So where ONNX is further from float64 than eager, eager is run again on moved inputs; unless ONNX is
        already known to be wrong.
        """
        rows = self.distances.rows
        if not len(self._failures):
            beyond = {(kind, length): None for (kind, _, length), row in rows.items() if row.failure(self._limits)}
            for kind, length in beyond:
                self._run_eager_again(kind, length)
        for (kind, name, length), row in rows.items():
            failure = row.failure(self._limits)
            if failure:
                self._failures.add(f'onnx, {kind}: "{name}" at sequence {length}: {failure}')
        for batch, found, eager, exact in self._logits:
            self._judge_labels(batch, found, eager, exact)

    def _run_eager_again(self, kind: str, length: int) -> None:
        for batch in self._batches:
            if (batch.kind, batch.length) != (kind, length):
                continue
            lengths, exact = batch.inputs["lengths"], self._reference.exact(batch.inputs)
            for outputs in self._reference.moved(batch.inputs):
                for name, moved in outputs.items():
                    if (kind, name, length) in self.distances.rows:
                        self.distances.add_moved(kind, name, lengths, moved=moved, exact=exact[name])

    def _compare_script(self, batch: InputBatch, script: torch.jit.ScriptModule, eager: Arrays) -> None:
        results = run_module(script, batch.inputs, torch.float32)
        if len(results) != len(eager):
            self._failures.add(f"torchscript, names: forward gives {len(results)} tensors; expected {', '.join(eager)}")
            return
        for (name, expected), found in zip(eager.items(), results, strict=True):
            if self._failures.compare_forms("torchscript", name, found, expected, batch):
                self._failures.compare_values("torchscript, bit for bit", name, found, expected, 0.0, batch)

    def _compare_onnx(self, batch: InputBatch, found: Arrays, eager: Arrays, exact: Arrays) -> None:
        """Compare ONNX's outputs with eager's, by name: arrays of one shape, float32 and, for `exact`, float64."""
        lengths = batch.inputs["lengths"]  # (batch,) int64
        for name, expected in eager.items():
            if name not in found:  # `check_onnx` reports it
                continue
            if not self._failures.compare_forms("onnx", name, found[name], expected, batch):
                continue
            limit = self._limit(batch.kind, name) * scale(expected)
            self._failures.compare_values(f"onnx, {batch.kind}", name, found[name], expected, limit, batch)
            if name == "output":
                padding = np.arange(batch.length) >= lengths[:, None]  # (batch, sequence)
                padded = np.where(padding[..., None], found[name], 0)  # (batch, sequence, directions * hidden)
                zeros = np.zeros_like(padded)
                self._failures.compare_values("onnx, zeros after lengths", name, padded, zeros, 0.0, batch)
            self.distances.add(batch.kind, name, lengths, found=found[name], eager=expected, exact=exact[name])
            if name == "logits":
                self._logits.append((batch, found[name], expected, exact[name]))

    def _limit(self, kind: str, name: str) -> float:
        """Give how far any one value may lie from eager's; no limit where only the distance from float64 counts."""
        if kind == "step":
            return self._limits.step_logits if name == "logits" else self._limits.step_state
        return self._limits.walk if (kind, name) == ("walk", "logits") else np.inf

    def _judge_labels(
        self,
        batch: InputBatch,
        found: npt.NDArray[np.float32],
        eager: npt.NDArray[np.float32],
        exact: npt.NDArray[np.float64],
    ) -> None:
        """Check that labels are those of float64, in rows where rounding cannot change them.

        Rounding can change a label where float64's two largest logits differ by less than twice eager's errors.

        Args:
            batch: The inputs.
            found: ONNX's logits, (batch, classes).
            eager: Eager's, (batch, classes).
            exact: Float64's, (batch, classes).
        """
        if exact.shape[1] == 1:
            return
        row = self.distances.rows[batch.kind, "logits", batch.length]
        rounding = self._limits.sequence_rms_factor * row.rounding.largest + self._limits.step_logits * row.scale
        two_largest = np.sort(exact, axis=1)[:, -2:]
        decided = two_largest[:, 1] - two_largest[:, 0] > 2 * rounding  # (batch,) bool
        for side, logits in (("onnx", found), ("eager", eager)):
            wrong = np.flatnonzero(decided & (logits.argmax(axis=1) != exact.argmax(axis=1)))
            if wrong.size:
                at = int(wrong[0])
                self._failures.add(
                    f'{side}, labels: row {at} of {batch}: "logits" {logits[at].tolist()} say class '
                    f"{int(logits[at].argmax())}, expected {int(exact[at].argmax())} as in float64"
                )
