"""MLServer's runtime of the model: MLServer speaks this server's protocol."""

import numpy as np
from mlserver import MLModel  # type: ignore[import-not-found]  # in its own environment
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]

from benchmarks.peers.walk_model import WalkModel


class WalkRuntime(MLModel):  # type: ignore[misc]  # of an unknown base
    """Responds to requests with one input, "input", with "logits". MLServer joins requests that come together."""

    async def load(self) -> bool:
        """Load the model that the settings name."""
        self._model = WalkModel(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run a batch that MLServer has joined."""
        walks = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        logits = NumpyCodec.encode_output("logits", self._model.run(walks))
        return InferenceResponse(model_name=self.name, outputs=[logits])
