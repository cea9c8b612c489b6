"""Keys under which a connection tells the application of itself, in the scope of its request."""

__all__ = ["CERTIFICATE", "GONE", "HALF_CLOSED"]

CERTIFICATE = "rnnserve.certificate"
"""The certificate that the client has shown, in DER and base64; not set where there is none, or none is asked for."""

GONE = "rnnserve.gone"
"""Set where the connection is lost: the request's task is cancelled, and that is no defect."""

HALF_CLOSED = "rnnserve.half_closed"
"""Set where the client sends no more, and may have gone: the two look the same for a while."""
