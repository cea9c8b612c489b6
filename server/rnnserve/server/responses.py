"""From a run's arrays to the bytes of a ModelInferResponse."""

from collections.abc import Mapping

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary import Array
from rnnserve.server.model import Model
from rnnserve.server.signature import CONTENTS

__all__ = ["encode"]


def encode(request: pb.ModelInferRequest, model: Model, outputs: Mapping[str, Array]) -> bytes:
    """Build the response to a request: the outputs in the order given, raw or typed as the request's inputs were."""
    response = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
    for name, array in outputs.items():
        datatype = model.signature.outputs[name].datatype
        tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if request.raw_input_contents:
            response.raw_output_contents.append(array.tobytes())
        else:
            getattr(tensor.contents, CONTENTS[datatype]).extend(array.ravel().tolist())
    return response.SerializeToString()
