"""tritonclient's HTTP client whose calls wait."""

from campaigns.conformance.programs.triton_http import WAITING
from campaigns.conformance.programs.v2_calls import run_as

if __name__ == "__main__":
    run_as(WAITING)
