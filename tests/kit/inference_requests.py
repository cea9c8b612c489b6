"""ModelInfer requests and responses of the Open Inference Protocol: arrays to messages and back."""

from collections.abc import Iterable, Mapping

import numpy as np

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import CONTENTS, DTYPES

DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


def request(
    model: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Iterable[str] = (),
    *,
    raw: bool = True,
    id: str = "",
    version: str = "",
) -> pb.ModelInferRequest:
    """Return a ModelInfer request.

    Args:
        model: Name of the model.
        inputs: Arrays of any shape by the name of their tensor; their dtypes are those of `DATATYPES`.
        outputs: Names of the outputs to ask for; none asks for all.
        raw: Whether contents are raw bytes instead of typed fields, which cannot hold FP16.
        id: The request's id.
        version: The model's version; empty for the server's choice.
    """
    message = pb.ModelInferRequest(model_name=model, model_version=version, id=id)
    for name, array in inputs.items():
        tensor = message.inputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        if raw:
            message.raw_input_contents.append(array.tobytes())
        else:
            getattr(tensor.contents, CONTENTS[tensor.datatype]).extend(array.ravel().tolist())
    for name in outputs:
        message.outputs.add(name=name)
    return message


def arrays(response: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    """Return the outputs of a response with raw contents by their names, in its order."""
    assert len(response.outputs) == len(response.raw_output_contents)
    return {
        tensor.name: np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tuple(tensor.shape))
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
