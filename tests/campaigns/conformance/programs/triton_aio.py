"""tritonclient's gRPC client of asyncio."""

from campaigns.conformance.programs.triton_grpc import AIO
from campaigns.conformance.programs.v2_calls import run_as

if __name__ == "__main__":
    run_as(AIO)
