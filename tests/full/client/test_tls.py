import contextlib
import socket
import threading

import pytest

from rnnserve.client import Client, InvalidRequest


def test_error_names_an_http_server_on_the_grpc_port():
    """The HTTP gateway answers the first bytes of HTTP/2 with 400. The client recognizes what gRPC says of that."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            with contextlib.suppress(OSError):  # closed at the end
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            Client(f"127.0.0.1:{listening.getsockname()[1]}") as client,
            pytest.raises(InvalidRequest, match="is an HTTP server"),
        ):
            client.predict("model", [[(0, 1)]])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
