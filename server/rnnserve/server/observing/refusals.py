"""The one place where a refusal is told to who observes, beside its count."""

from rnnserve.server.errors import ServeError
from rnnserve.server.observing.origins import Asked
from rnnserve.server.observing.runs import observed

__all__ = ["tell_refusal"]


def tell_refusal(asked: Asked, error: ServeError) -> str:
    """Tell of a refusal, and give the id that its client is told.

    Args:
        asked: The request, which has not been answered yet.
        error: The error that its client is told.
    """
    origin = asked.origin()
    observer = observed.refusals
    if observer is not None:
        observer.refused(origin, error)
    return origin.request_id
