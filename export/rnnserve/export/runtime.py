"""An exported model on onnxruntime, as little of it as it takes to ask for results."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, MODEL, ArtifactError

__all__ = ["Runtime"]

_Array = npt.NDArray[Any]
_TYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


class Runtime:
    """A session on the CPU, with one thread."""

    def __init__(self, model: bytes) -> None:
        """Load a model.

        Raises:
            ArtifactError: If onnxruntime cannot.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        errors = ort.capi.onnxruntime_pybind11_state
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.InvalidArgument) as error:
            raise ArtifactError(f"{MODEL}: onnxruntime cannot load it: {error}") from error
        self._outputs = [node.name for node in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, _Array]) -> dict[str, _Array]:
        """Compute every output, by name."""
        results = self._session.run(self._outputs, dict(inputs))
        return {name: np.asarray(array) for name, array in zip(self._outputs, results, strict=True)}

    def check_tensors(self, manifest: manifest_pb2.Manifest) -> list[str]:
        """Compare names, datatypes and axes of the graph with the manifest's, in the order of both.

        Returns:
            What differs, a sentence each.
        """
        failures = []
        for kind, nodes, tensors in (
            ("inputs", self._session.get_inputs(), manifest.inputs),
            ("outputs", self._session.get_outputs(), manifest.outputs),
        ):
            found = [(node.name, _TYPES.get(node.type, node.type), list(node.shape)) for node in nodes]
            described = [
                (tensor.name, tensor.datatype, [axis.name if axis.size < 0 else axis.size for axis in tensor.axes])
                for tensor in tensors
            ]
            if found != described:
                failures.append(f"{MANIFEST}: describes the {kind} {described}, but in {MODEL} they are {found}")
        return failures
