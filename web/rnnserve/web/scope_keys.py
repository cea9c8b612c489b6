"""Keys under which a connection tells the application what became of it, in the scope of its request."""

__all__ = ["GONE", "HALF_CLOSED"]

GONE = "rnnserve.gone"
"""Set where the connection is lost: the request's task is cancelled, and that is no defect."""

HALF_CLOSED = "rnnserve.half_closed"
"""Set where the client sends no more, and may have gone: the two look the same for a while."""
