"""When a server asks that a request be sent again: google.rpc.RetryInfo among the details of an error (AIP-193)."""

__all__ = ["retry_delay"]

_MOST_BYTES = 16 << 10
"""Bytes of details that are read: clients let 8 KiB of metadata through."""


def retry_delay(details: bytes) -> float | None:
    """Give the seconds that the details of an error ask a client to wait; None where they do not, or are damaged.

    Args:
        details: A google.rpc.Status, as the trailing metadata `STATUS_DETAILS` have it.
    """
    if len(details) > _MOST_BYTES:
        return None
    # Few errors have details, and `rnnserve health` does without protobuf.
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    info = error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Is(info.DESCRIPTOR):
                info.ParseFromString(detail.value)
                seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                return max(seconds, 0.0)
    except DecodeError:
        pass
    return None
