"""A client's token: what it may be, where it may be sent, and that it is shown nowhere."""

import os
import pickle

import pytest

from rnnserve.client import Client, InvalidRequest
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.token_source import TokenSource

TOKEN = "rnn_secret"  # not one that any server has
HERE = ["127.0.0.1:8001", "localhost:8001", "grpc://[::1]:8001", "127.0.0.1:8001,127.0.0.2:8001"]
ELSEWHERE = ["10.0.0.1:8001", "name:8001", "grpc://name:8001", "127.0.0.1:8001,10.0.0.1:8001", "localhost.example:8001"]


@pytest.mark.parametrize("url", HERE)
def test_it_is_sent_to_this_machine(url):
    assert parse_endpoint(url, token=TOKEN).headers == (("authorization", f"Bearer {TOKEN}"),)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_it_is_not_sent_in_plain_text_to_another(url):
    with pytest.raises(InvalidRequest, match="in plain text: use TLS") as refused:
        parse_endpoint(url, token=TOKEN)
    assert TOKEN not in str(refused.value)
    with pytest.raises(InvalidRequest, match="in plain text: use TLS"):
        Client(url, token=TOKEN)
    assert parse_endpoint(url, token=TOKEN, insecure=True).headers
    assert not parse_endpoint(url).headers
    assert parse_endpoint(f"grpcs://{url.removeprefix('grpc://')}", token=TOKEN).headers


def test_nor_to_what_a_file_lists(tmp_path):
    path = tmp_path / "endpoints"
    path.write_text("127.0.0.1:8001\n")
    endpoint = parse_endpoint(f"file://{path}", token=TOKEN)
    assert endpoint.resolve() == ["127.0.0.1:8001"]
    path.write_text("127.0.0.1:8001\n10.0.0.1:8001\n")
    with pytest.raises(InvalidRequest, match=r"to 10\.0\.0\.1:8001 in plain text"):
        endpoint.resolve()
    assert len(parse_endpoint(f"file://{path}", token=TOKEN, insecure=True).resolve()) == 2


@pytest.mark.parametrize("text", ["", " ", "a b", "ä", "a\tb", "a\nb"])
def test_what_is_no_token(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text)
    for arguments in ({"token": text}, {"token_file": path}):
        with pytest.raises(InvalidRequest, match="holds no token"):
            parse_endpoint("localhost:8001", **arguments)


def test_a_file_is_read_again(tmp_path, monkeypatch):
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
    for wrong in ("", None):
        path.unlink()
        if wrong is not None:
            path.write_text(wrong)
        clock[0] += 2.0
        assert source.headers()[0][1] == "Bearer second"
    again = pickle.loads(pickle.dumps(source))
    assert again.headers() == source.headers()


def test_it_is_not_shown(tmp_path):
    source = TokenSource(TOKEN, None)
    assert TOKEN not in repr(source)
    assert TOKEN not in repr(parse_endpoint("localhost:8001", token=TOKEN))
    path = tmp_path / "none"
    with pytest.raises(InvalidRequest, match="cannot be read"):
        parse_endpoint("localhost:8001", token_file=path)
    with pytest.raises(InvalidRequest, match="exclude each other"):
        parse_endpoint("localhost:8001", token=TOKEN, token_file=os.devnull)
