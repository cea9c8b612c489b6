"""`rnnserve health`: one line, an exit status, and few imports."""

import contextlib
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kit.certificates import write_certificates
from rnnserve.cli import main
from rnnserve.protos import inference_pb2 as pb

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@contextlib.contextmanager
def serving(servicer, credentials=None, *, is_live=True):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    answer = pb.ServerLiveResponse(live=is_live).SerializeToString()
    live = grpc.unary_unary_rpc_method_handler(lambda _, __: answer)
    handlers = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ServerLive": live})
    server.add_generic_rpc_handlers((handlers,))
    port = (
        server.add_secure_port("localhost:0", credentials) if credentials else server.add_insecure_port("127.0.0.1:0")
    )
    server.start()
    try:
        yield port
    finally:
        server.stop(0)


@pytest.fixture(scope="module")
def port():
    """A server that is ready; of its models one is, the name of another is long, and one is not."""
    servicer = health.HealthServicer()
    for name, state in {"": SERVING, "good": SERVING, "long " * 60: SERVING, "bad": NOT_SERVING}.items():
        servicer.set(name, state)
    with serving(servicer) as port:
        yield port


def outcome(capsys, *words):
    """Exit status, and the one line that is said."""
    status = main(["health", *words])
    said, wrong = capsys.readouterr()
    (line,) = (said + wrong).splitlines()
    assert bool(said) == (status == 0), "what is wrong goes to standard error"
    return status, line


@pytest.mark.parametrize("scheme", ["", "grpc://"])
def test_a_server_that_is_ready(port, capsys, scheme):
    address = f"{scheme}127.0.0.1:{port}"
    assert outcome(capsys, address) == (0, f"ready: {address}")
    assert outcome(capsys, address, "--live") == (0, f"live: {address}")
    assert outcome(capsys, address, "--model", "good") == (0, f"ready: good at {address}")
    assert outcome(capsys, address, "--model", "long " * 60)[0] == 0


def test_models_that_are_not(port, capsys):
    status, line = outcome(capsys, f"127.0.0.1:{port}", "--model", "bad")
    assert status == 1
    assert line.startswith(f"rnnserve health: not ready: bad at 127.0.0.1:{port}: it is NOT_SERVING: ")
    status, line = outcome(capsys, f"127.0.0.1:{port}", "--model", "none")
    assert (status, line.endswith("the server has no model 'none'")) == (1, True)


def test_a_server_that_lives_and_is_not_ready(capsys):
    servicer = health.HealthServicer()
    servicer.set("", NOT_SERVING)
    with serving(servicer) as port:
        assert outcome(capsys, f"127.0.0.1:{port}")[0] == 1
        assert outcome(capsys, f"127.0.0.1:{port}", "--live")[0] == 0
    with serving(servicer, is_live=False) as port:
        assert outcome(capsys, f"127.0.0.1:{port}", "--live")[0] == 1


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_none_that_answers(capsys, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        status, line = outcome(capsys, address, "--timeout", "0.2")
        assert (status, line) == (1, f"rnnserve health: not ready: {address}: no answer within 0.2 s")
    status, line = outcome(capsys, address, "--live")
    assert status == 1
    assert "not live" in line
    assert "refused" in line


def test_tls(files, capsys):
    servicer = health.HealthServicer()
    servicer.set("", SERVING)
    with serving(servicer, files.server_credentials(files.server, mutual=True)) as port:
        address = f"grpcs://localhost:{port}"
        own = ["--tls-certificate", str(files.client), "--tls-key", str(files.key(files.client))]
        assert outcome(capsys, address, "--tls-ca", str(files.ca), *own) == (0, f"ready: {address}")
        status, line = outcome(capsys, address, "--tls-ca", str(files.ca))
        assert (status, "client certificate" in line) == (1, True)
        status, line = outcome(capsys, address, "--tls-ca", str(files.other_ca), *own)
        assert (status, "certificate" in line) == (1, True)


ROUTES = {
    "/v2/health/ready": (503, {"ready": False, "error": "models\nare loading"}),
    "/v2/health/live": (200, {"live": True}),
    "/v2/models/a%2Fb/ready": (200, {"ready": True}),
    "/base/v2/health/ready": (200, {"ready": True}),
    "/odd/v2/health/ready": (500, "no object"),
}


class Routes(http.server.BaseHTTPRequestHandler):
    """Health as the front answers it."""

    def do_GET(self):
        status, said = ROUTES.get(self.path, (404, {"error": "there is no model"}))
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def over_http(context=None):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Routes) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_http(capsys):
    with over_http() as port:
        address = f"http://127.0.0.1:{port}"
        assert outcome(capsys, address) == (
            1,
            f"rnnserve health: not ready: {address}: status 503: models are loading",
        )
        assert outcome(capsys, address, "--live") == (0, f"live: {address}")
        assert outcome(capsys, address, "--model", "a/b")[0] == 0
        assert outcome(capsys, f"{address}/base/")[0] == 0
        status, line = outcome(capsys, address, "--model", "none")
        assert (status, line.endswith("status 404: there is no model")) == (1, True)
        status, line = outcome(capsys, f"{address}/odd")
        assert (status, line.endswith("status 500: Internal Server Error")) == (1, True)


def test_https(files, capsys):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.key(files.server))
    with over_http(context) as port:
        address = f"https://localhost:{port}"
        assert outcome(capsys, address, "--live", "--tls-ca", str(files.ca))[0] == 0
        status, line = outcome(capsys, address, "--live")
        assert (status, "no TLS" in line) == (1, True)


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["http://"], ["http://127.0.0.1:x"], ["127.0.0.1:1", "--tls-ca", "a"],
     ["http://127.0.0.1:1", "--tls-ca", "a"], ["https://127.0.0.1:1", "--tls-ca", "/nowhere"]],
)  # fmt: skip
def test_mistakes_in_addresses_are_one_line(capsys, words):
    assert outcome(capsys, *words)[0] == 1


@pytest.mark.parametrize("words", [["--model", "a", "--live"], ["--timeout", "0"], ["--timeout", "soon"]])
def test_mistakes_in_options(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["health", *words])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("address", "unneeded"),
    [
        ("127.0.0.1:1", {"numpy", "google", "torch", "onnxruntime", "tqdm"}),
        ("http://127.0.0.1:1", {"numpy", "google", "torch", "onnxruntime", "grpc"}),
    ],
)
def test_little_is_imported(address, unneeded):
    probe = (
        "import sys; from rnnserve.cli import main\n"
        f"assert main(['health', {address!r}]) == 1; print(sorted({unneeded!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
