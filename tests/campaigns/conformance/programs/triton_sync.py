"""tritonclient's gRPC client whose calls wait."""

import grpc
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from campaigns.conformance.programs.arrays import same
from campaigns.conformance.programs.reporting import PLAN, feature
from campaigns.conformance.programs.triton_grpc import WAITING
from campaigns.conformance.programs.v2_calls import TEXT, run_as


@feature("infer-typed")
def infer_typed() -> None:  # grpc_explicit_int_content_client.py, which uses the stubs in the package
    request = service_pb2.ModelInferRequest(model_name=TEXT["model"])
    row = TEXT["rows"][0]
    request.inputs.add(name="tokens", datatype="INT64", shape=[1, len(row)]).contents.int64_contents.extend(row)
    with grpc.insecure_channel(PLAN["servers"]["plain"]) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    same(triton.InferResult(answer).as_numpy("logits"), [TEXT["logits"][0]])


if __name__ == "__main__":
    run_as(WAITING)
