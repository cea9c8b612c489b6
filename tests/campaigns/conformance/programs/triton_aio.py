"""tritonclient's asyncio client: each of its methods."""

from campaigns.conformance.programs import triton_grpc_management, triton_grpc_requests, triton_grpc_streams
from campaigns.conformance.programs.reporting import run
from campaigns.conformance.programs.triton_grpc_calls import AioWay, choose, refusal

__all__ = ["triton_grpc_management", "triton_grpc_requests", "triton_grpc_streams"]

if __name__ == "__main__":
    choose(AioWay)
    run(refusal)
