"""A model with states, asked in every way in which a sequence can be cut: all ways give the bits of the whole."""

import contextlib
import secrets
from pathlib import Path

import numpy as np

from kit.inference_requests import arrays, request
from kit.sequence_requests import PATIENCE, in_parts
from kit.served import served
from rnnserve.client import Client
from rnnserve.protos import inference_pb2_grpc as rpc

__all__ = ["StatefulService", "stateful_service"]

CUTS = ([1, 2, 6], [4, 5])


class StatefulService:
    """A server with a key for sessions, and clients of it."""

    def __init__(self, client: Client, stub: rpc.GRPCInferenceServiceStub) -> None:
        self.client = client
        self.stub = stub

    def whole(self, model, x, outputs):
        """The outputs of a request that leaves the states out."""
        return arrays(self.stub.ModelInfer(request(model, {"x": x}, outputs), timeout=PATIENCE))

    def in_parts(self, model, x, outputs, cut, identity):
        """The answers to the parts of a sequence whose states the server keeps."""
        parts = in_parts(x, cut, identity, input_name="x", name=model, outputs=outputs)
        return [arrays(self.stub.ModelInfer(part, timeout=PATIENCE)) for part in parts]

    def in_session(self, model, x, outputs, cut, state):
        """The answers of a session whose state travels sealed, or as the model's own tensors."""
        ends = np.cumsum(cut)
        with self.client.session(model, outputs=outputs, rows=len(x), state=state) as session:
            return [session.step(list(x[:, end - size : end])) for size, end in zip(cut, ends, strict=True)]

    def check(self, model, x, eager, *, by_step=("y",), states=(), atol=2e-6):
        """Compare each way with eager, and all ways bit by bit.

        Args:
            model: The model's name.
            x: Input (batch, 9, …) of the model.
            eager: What the module gives for it from the beginning, by output.
            by_step: Outputs that have the steps on axis 1.
            states: Outputs that are final states.
            atol: Largest difference from eager.
        """
        outputs = [*by_step, *states]
        whole = self.whole(model, x, outputs)
        for name in outputs:
            assert whole[name].dtype == eager[name].dtype, name
            np.testing.assert_allclose(whole[name], eager[name], atol=atol, err_msg=name)
        for number, cut in enumerate(CUTS):
            parts = self.in_parts(model, x, outputs, cut, 100 + number)
            for name in by_step:
                np.testing.assert_array_equal(np.concatenate([part[name] for part in parts], 1), whole[name], name)
            for name in states:
                np.testing.assert_array_equal(parts[-1][name], whole[name], name)
            for form in ("sealed", "carried"):
                answers = self.in_session(model, x, list(by_step), cut, form)
                for name in by_step:
                    rows = [np.concatenate([part[row][name] for part in answers]) for row in range(len(x))]
                    np.testing.assert_array_equal(np.stack(rows), whole[name], f"{form}: {name}")


@contextlib.contextmanager
def stateful_service(repository: Path, folder: Path, **settings):
    """Serve a repository on the CPU with a key for sealed sessions, which is made in a folder."""
    key = folder / "session.key"
    key.write_bytes(secrets.token_bytes(32))
    key.chmod(0o600)
    with served(repository, session_key=key, **settings) as server, Client(server.address) as client:
        yield StatefulService(client, server.stub)
