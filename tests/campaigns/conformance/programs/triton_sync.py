"""tritonclient's synchronous client: each of its methods, and the flows of its official examples.

What follows an example names it; the examples themselves run with `--examples` (`triton_examples.py`). The features are
registered by the modules that try them.
"""

from campaigns.conformance.programs import triton_sync_management, triton_sync_requests, triton_sync_streams
from campaigns.conformance.programs.reporting import run
from campaigns.conformance.programs.triton_requests import refusal

__all__ = ["triton_sync_management", "triton_sync_requests", "triton_sync_streams"]

if __name__ == "__main__":
    run(refusal)
