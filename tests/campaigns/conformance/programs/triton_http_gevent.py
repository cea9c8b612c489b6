"""tritonclient's HTTP client whose requests are greenlets, in a process that gevent has patched."""

from gevent import monkey

monkey.patch_all()  # before anything else is imported, which may import ssl or socket

from campaigns.conformance.programs.triton_http import GREENLETS  # noqa: E402 - as above
from campaigns.conformance.programs.v2_calls import run_as  # noqa: E402 - as above

if __name__ == "__main__":
    run_as(GREENLETS)
