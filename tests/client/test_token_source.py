"""A client's token: valid tokens, the servers that it is sent to, and that it is never shown."""

import os
import pickle

import pytest

from rnnserve.client import Client, InvalidRequest
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.token_source import TokenSource

TOKEN = "rnn_secret"  # not one that any server has
HERE = ["127.0.0.1:8001", "localhost:8001", "grpc://[::1]:8001", "127.0.0.1:8001,127.0.0.2:8001"]
ELSEWHERE = ["10.0.0.1:8001", "name:8001", "grpc://name:8001", "127.0.0.1:8001,10.0.0.1:8001", "localhost.example:8001"]


def test_token_is_sent_to_this_machine():
    for url in HERE:
        assert parse_endpoint(url, token=TOKEN).headers == (("authorization", f"Bearer {TOKEN}"),)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_token_is_not_sent_in_plain_text_to_another_machine(url):
    with pytest.raises(InvalidRequest, match="in plain text; use TLS") as refused:
        Client(url, token=TOKEN)
    assert TOKEN not in str(refused.value)
    assert parse_endpoint(url, token=TOKEN, insecure=True).headers
    assert parse_endpoint(f"grpcs://{url.removeprefix('grpc://')}", token=TOKEN).headers
    assert not parse_endpoint(url).headers


def test_text_that_is_not_a_token_is_refused(tmp_path):
    path = tmp_path / "token"
    for text in ("", " ", "a b", "ä", "a\tb", "a\nb"):
        path.write_text(text)
        for arguments in ({"token": text}, {"token_file": path}):
            with pytest.raises(InvalidRequest, match="does not contain a token"):
                parse_endpoint("localhost:8001", **arguments)
    with pytest.raises(InvalidRequest, match="cannot read the token file"):
        parse_endpoint("localhost:8001", token_file=tmp_path / "none")
    with pytest.raises(InvalidRequest, match="either token or token_file"):
        parse_endpoint("localhost:8001", token=TOKEN, token_file=os.devnull)


def test_token_file_is_reread_and_the_last_valid_token_kept(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text("one\n")
    clock = [100.0]
    monkeypatch.setattr("rnnserve.client.token_source.time.monotonic", lambda: clock[0])
    source = TokenSource(None, path)
    assert source.headers()[0][1] == "Bearer one"
    path.write_text("second\n")
    assert source.headers()[0][1] == "Bearer one"
    clock[0] += 2.0
    assert source.headers()[0][1] == "Bearer second"
    for spoil in (lambda: path.write_text(""), path.unlink):
        spoil()
        clock[0] += 2.0
        assert source.headers()[0][1] == "Bearer second"
    assert pickle.loads(pickle.dumps(source)).headers() == source.headers()


def test_token_is_not_shown():
    assert TOKEN not in repr(TokenSource(TOKEN, None))
    assert TOKEN not in repr(parse_endpoint("localhost:8001", token=TOKEN))
