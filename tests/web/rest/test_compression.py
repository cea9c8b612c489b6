"""Compressed bodies are bounded, and are one whole stream."""

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.web.errors import RestError
from rnnserve.web.rest.compression import Inflater

PACK: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress}


def inflate(data, coding, most=1 << 20, step=1 << 16):
    inflater = Inflater(coding, most)
    made = b"".join(inflater.feed(data[at : at + step]) for at in range(0, len(data), step))
    inflater.end()
    return made


@given(st.binary(max_size=3000), st.sampled_from(sorted(PACK)), st.integers(1, 50))
def test_bodies_come_out_as_they_went_in(body, coding, step):
    assert inflate(PACK[coding](body), coding, step=step) == body


@pytest.mark.parametrize("coding", PACK)
def test_a_bomb_is_refused_after_its_bound(coding):
    bomb = PACK[coding](bytes(64 << 20))
    inflater = Inflater(coding, 1 << 20)
    with pytest.raises(RestError, match="at most 1,048,576 bytes") as caught:
        inflater.feed(bomb)
    assert caught.value.status == 413
    assert len(inflate(PACK[coding](bytes(1 << 20)), coding)) == 1 << 20


@pytest.mark.parametrize("coding", PACK)
def test_damaged_cut_and_several_streams_are_refused(coding):
    whole = PACK[coding](b"a body of some bytes")
    for wrong, said in (
        (b"no" + whole, "decompressed as"),
        (whole[:-1], "in the middle"),
        (whole + whole, "after the"),
    ):
        with pytest.raises(RestError, match=said) as caught:
            inflate(wrong, coding)
        assert caught.value.status == 400
