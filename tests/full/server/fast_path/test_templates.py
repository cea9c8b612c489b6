"""Recognition of requests by their first bytes: more examples."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kit.kept_prefixes import agrees, asked, kept

SEEDS = st.integers(0, 2**32)


@settings(settings.get_profile("full"))
@given(SEEDS, st.lists(st.tuples(SEEDS, st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_never_mislead_recognition(service, seed, changes):
    payload = bytearray(asked(seed))
    prefixes = kept(service, bytes(payload))
    for at, value in changes:
        payload[at % len(payload)] = value
    agrees(service, prefixes, bytes(payload))
