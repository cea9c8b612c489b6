"""`python -m benchmarks.ray_serve`: a replica of Ray Serve and a server that `rnnserve ray up` places, in turns.

Both run on one Ray node on this machine, with one CPU each and the model of `rnnserve demo`. The model is small, so the
figures differ by the path of a request. The replica calls onnxruntime for each request, with one thread as the server
does. It uses direct ingress: gRPC at a separate port, without a proxy. h2load sends both the same request of one
sequence.

Needs Ray Serve: `pip install 'ray[serve]'` in addition to `.[dev,ray]`.
"""

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import onnxruntime

from benchmarks.load_generators.h2load import grpc_target, run_h2load
from benchmarks.scenarios import LoadSettings
from benchmarks.server_processes import free_port
from benchmarks.servers import CONSOLE_SCRIPT
from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

_DIRECT = {
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": "40000",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
_SERVICER = "rnnserve.protos.inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"
_REPOSITORY, _MODEL = Path(__file__).parents[1] / "load/rnnserve/load/demo_models", "odd_ones"
_READY_S = 60.0
_LOADS = (LoadSettings("h2load", 1), LoadSettings("h2load", 32, 4))


class Replica:
    """The code of a Ray Serve user: a model behind the same protocol."""

    def __init__(self, model: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    async def ModelInfer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:  # noqa: N802 - the protocol's
        """Respond to a request whose tensors are raw and INT64, as all tensors of this model are."""
        feeds = {
            tensor.name: np.frombuffer(raw, "<i8").reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        wanted = [output.name for output in request.outputs] or self._outputs
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        for name, array in zip(wanted, self._session.run(wanted, feeds), strict=True):
            answer.outputs.add(name=name, datatype="INT64", shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        return answer


@contextlib.contextmanager
def _replica() -> Iterator[str]:
    """Serve with Ray Serve and yield the address of the replica."""
    from ray import serve
    from ray.serve.config import gRPCOptions

    serve.start(grpc_options=gRPCOptions(port=free_port(), grpc_servicer_functions=[_SERVICER]))
    try:
        deployed = serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=128)(Replica)
        serve.run(deployed.bind(str(_REPOSITORY / _MODEL / "1" / "model.onnx")), name="rnn", route_prefix="/")
        yield f"127.0.0.1:{_DIRECT['RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT']}"
    finally:
        serve.shutdown()


@contextlib.contextmanager
def _placed() -> Iterator[str]:
    """Place a server and yield its address."""
    port = free_port()
    command = [str(CONSOLE_SCRIPT), "ray"]
    options = ["--replicas", "1", "--grpc-port", str(port), "--serve-options=--no-http"]
    try:
        up = [*command, "up", str(_REPOSITORY), *options]
        said = subprocess.run(up, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - our own
        yield said.split("--url ")[1].strip()
    finally:
        subprocess.run([*command, "down"], check=True, capture_output=True)  # noqa: S603 - our own


def _measured(name: str, address: str, seconds: float, folder: Path) -> Iterator[list[str]]:
    bits = np.random.default_rng(0).integers(0, 2, (1, 16))  # (batch, sequence)
    request = pb.ModelInferRequest(model_name=_MODEL, raw_input_contents=[bits.tobytes()])
    request.inputs.add(name="bits", datatype="INT64", shape=bits.shape)
    with grpc.insecure_channel(address) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=_READY_S, wait_for_ready=True)
    for load in _LOADS:
        host, _, port = address.rpartition(":")
        target = grpc_target(int(port), request.SerializeToString(), answer.ByteSize(), host=host)
        found = run_h2load(load, seconds, target, folder)
        yield [
            name,
            str(load.in_flight),
            f"{found['requests/s']:,.0f}",
            f"{found['p50 ms']:.2f} ms",
            f"{found['p99 ms']:.2f} ms",
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ray_serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of each measurement (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of measurements of each variant (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    os.environ.update(_DIRECT, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray  # reads the environment at import

    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        try:
            for _ in range(args.rounds):
                with _replica() as address:
                    rows += _measured("Ray Serve, direct ingress", address, args.seconds, Path(folder))
                with _placed() as address:
                    rows += _measured("placed by rnnserve ray", address, args.seconds, Path(folder))
        finally:
            ray.shutdown()
    print(format_aligned_table(["", "under way", "requests/s", "p50", "p99"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
