"""Why requests of a foreign file run alone, in words of the file and not of a module's author."""

from rnnserve.protos import manifest_pb2

__all__ = ["explain_alone"]

_FOR_MODULES = ": does the module"  # from here on, a reason speaks to who can change the module


def explain_alone(batching: manifest_pb2.Batching, *, one_row: bool, is_quantised: bool) -> None:
    """Let requests of a file for one row run alone, and say why those of others do.

    Args:
        batching: Findings of the graph that serves.
        one_row: Whether its graph is run for each row by itself: then sharing a run would save nothing.
        is_quantised: Whether it scales numbers to int8 by the largest that it meets.
    """
    if one_row:
        if batching.mode != manifest_pb2.BATCHING_ALONE:
            batching.mode = manifest_pb2.BATCHING_ALONE
            del batching.reasons[:]
            batching.ClearField("padding")
        batching.reasons.insert(0, "the file takes one row at a time, so sharing a run would save nothing")
    elif is_quantised and batching.rows.means != manifest_pb2.MEANS_PROVEN:
        # Where a result is a choice, such as an id, few values show that rows move each other.
        is_seen = batching.mode == manifest_pb2.BATCHING_ALONE
        seen = [reason.partition(_FOR_MODULES)[0] for reason in batching.reasons] if is_seen else []
        batching.mode = manifest_pb2.BATCHING_ALONE
        batching.ClearField("padding")
        del batching.reasons[:]
        why = "it scales numbers to int8 by the largest of a run, so the rows of a run move each other"
        batching.reasons.extend([why, *seen])
