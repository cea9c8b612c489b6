"""tritonclient's HTTP client whose requests are greenlets, in a process that gevent has patched."""

from gevent import monkey

monkey.patch_all()  # before anything else is imported, which may import ssl or socket

from campaigns.conformance.programs import triton_http_management, triton_http_requests  # noqa: E402 - as above
from campaigns.conformance.programs.reporting import run  # noqa: E402 - as above
from campaigns.conformance.programs.triton_http_calls import choose, refusal  # noqa: E402 - as above

__all__ = ["triton_http_management", "triton_http_requests"]

if __name__ == "__main__":
    choose("gevent")
    run(refusal)
