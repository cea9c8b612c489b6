"""The methods of Triton's shared memory extensions: no region can be registered, so that there are none.

Triton maps what a client names. Any client could then have this process read and write what belongs to others, since
there is no authentication; one that makes its region shorter ends the process (SIGBUS); and one that writes while a
request is checked has other values run than those that were checked.
"""

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.error_texts import quoted
from rnnserve.server.errors import NotFound, Unsupported

__all__ = ["cuda_regions", "cuda_unregistered", "refuse_region", "system_regions", "system_unregistered"]


def system_regions(request: pb.SystemSharedMemoryStatusRequest) -> pb.SystemSharedMemoryStatusResponse:
    """List the regions: none.

    Raises:
        NotFound: If one is named.
    """
    _refuse_name(request.name)
    return pb.SystemSharedMemoryStatusResponse()


def cuda_regions(request: pb.CudaSharedMemoryStatusRequest) -> pb.CudaSharedMemoryStatusResponse:
    """List the regions of devices: none.

    Raises:
        NotFound: If one is named.
    """
    _refuse_name(request.name)
    return pb.CudaSharedMemoryStatusResponse()


def system_unregistered(_: pb.SystemSharedMemoryUnregisterRequest) -> pb.SystemSharedMemoryUnregisterResponse:
    """Say that a region, or all of them, are not registered any more: clients do so before they begin."""
    return pb.SystemSharedMemoryUnregisterResponse()


def cuda_unregistered(_: pb.CudaSharedMemoryUnregisterRequest) -> pb.CudaSharedMemoryUnregisterResponse:
    """The same for regions of devices."""
    return pb.CudaSharedMemoryUnregisterResponse()


def refuse_region(_: pb.SystemSharedMemoryRegisterRequest | pb.CudaSharedMemoryRegisterRequest) -> Message:
    """Refuse to register a region.

    Raises:
        Unsupported: Always.
    """
    raise Unsupported(
        "shared memory is not supported: send tensors in raw_input_contents, and read raw_output_contents"
    )


def _refuse_name(name: str) -> None:
    if name:
        raise NotFound(f"no shared memory region is named {quoted(name)}: none is registered")
