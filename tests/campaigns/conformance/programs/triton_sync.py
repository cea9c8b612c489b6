"""tritonclient's synchronous client: each of its methods, and the flows of its official examples.

What follows an example names it. The features are registered by the modules that try them.
"""

import grpc
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from campaigns.conformance.programs import triton_grpc_management, triton_grpc_requests, triton_grpc_streams
from campaigns.conformance.programs.arrays import same
from campaigns.conformance.programs.reporting import PLAN, feature, run
from campaigns.conformance.programs.triton_grpc_calls import TEXT, refusal

__all__ = ["triton_grpc_management", "triton_grpc_requests", "triton_grpc_streams"]


@feature("infer-typed")
def infer_typed() -> None:  # grpc_explicit_int_content_client.py, which uses the stubs in the package
    request = service_pb2.ModelInferRequest(model_name=TEXT["model"])
    row = TEXT["rows"][0]
    request.inputs.add(name="tokens", datatype="INT64", shape=[1, len(row)]).contents.int64_contents.extend(row)
    with grpc.insecure_channel(PLAN["servers"]["plain"]) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    same(triton.InferResult(answer).as_numpy("logits"), [TEXT["logits"][0]])


if __name__ == "__main__":
    run(refusal)
