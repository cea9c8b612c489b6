"""tritonclient's HTTP client of asyncio."""

from campaigns.conformance.programs import triton_http_management, triton_http_requests
from campaigns.conformance.programs.reporting import run
from campaigns.conformance.programs.triton_http_calls import choose, refusal

__all__ = ["triton_http_management", "triton_http_requests"]

if __name__ == "__main__":
    choose("aio")
    run(refusal)
