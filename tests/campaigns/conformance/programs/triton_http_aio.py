"""tritonclient's HTTP client of asyncio."""

from campaigns.conformance.programs.triton_http import AIO
from campaigns.conformance.programs.v2_calls import run_as

if __name__ == "__main__":
    run_as(AIO)
