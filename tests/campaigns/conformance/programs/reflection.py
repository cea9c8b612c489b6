"""grpc_requests, a client that knows no proto: it asks the server for its descriptors, and sends dictionaries.

The features are registered by the modules that try them.
"""

from campaigns.conformance.programs import reflection_requests, reflection_services
from campaigns.conformance.programs.reporting import run

__all__ = ["reflection_requests", "reflection_services"]

if __name__ == "__main__":
    run()
