"""Calls of other methods with arbitrary names, and states that the server might keep forever."""

import time

from campaigns.drills.attack import Attack, Strike, attack
from campaigns.drills.drilled import MODEL
from rnnserve.protos import inference_pb2 as pb

_PATHS = "paths"
_STATES = "states without number"

_NAMES = (
    "../../../../etc/passwd", "/etc/passwd", "..", ".", "", "a/../../b", "a\0b", "\0", "\\..\\..\\x", "file:///etc/passwd",
    "%2e%2e%2f", "~root", "x" * 300, "\u202e", "-1", "con", "${HOME}", "$(id)", "{0}", "%s%n",
)  # fmt: skip


@attack(_PATHS)
def model_names(strike: Strike) -> None:
    """Names and versions that lead out of the repository, contain NULs or format strings, to infer and to load."""
    sent = [pb.ModelInferRequest(model_name=name) for name in _NAMES]
    sent += [pb.ModelInferRequest(model_name=MODEL, model_version=name) for name in _NAMES if name]
    strike.flood("ModelInfer", [message.SerializeToString() for message in sent])
    for name in _NAMES:
        message = pb.RepositoryModelLoadRequest(model_name=name)
        message.parameters["config"].string_param = '{"backend": "../../x", "name": "../x"}'
        message.parameters["file:../../../../tmp/escaped"].bytes_param = b"x"
        strike.flood("RepositoryModelLoad", [message.SerializeToString()])
        strike.flood("RepositoryModelUnload", [pb.RepositoryModelUnloadRequest(model_name=name).SerializeToString()])
        strike.flood("RepositoryIndex", [pb.RepositoryIndexRequest(repository_name=name).SerializeToString()])


@attack(_STATES)
def sequence_ids(strike: Strike) -> None:
    """Begin sequences with new ids and never end them."""

    def sent(number: int) -> bytes:
        message = pb.ModelInferRequest.FromString(strike.valid)
        message.parameters["sequence_start"].bool_param = True
        if number % 2:
            message.parameters["sequence_id"].int64_param = number
        else:
            message.parameters["sequence_id"].string_param = f"{number}" + "x" * 1000
        return message.SerializeToString()

    strike.flood("ModelInfer", map(sent, range(1, 20_000)))


@attack(_STATES)
def request_ids(strike: Strike) -> None:
    """Send requests with a new id, parameter and output name each, so that no template fits the next one."""

    def sent(number: int) -> bytes:
        message = pb.ModelInferRequest.FromString(strike.valid)
        message.id = f"{number}" + "x" * 4000
        message.parameters[f"key{number}"].string_param = "y" * 1000
        return message.SerializeToString()

    strike.flood("ModelInfer", map(sent, range(20_000)))


@attack(_STATES)
def cancelled_watches(strike: Strike) -> None:
    """Open health watches endlessly, and cancel each at once."""
    watch = strike.channel.unary_stream("/grpc.health.v1.Health/Watch")
    while strike.left():
        calls = [watch(b"") for _ in range(8)]
        time.sleep(0.002)
        for call in calls:
            call.cancel()
        strike.answers.note("CANCELLED", "by the client")


ATTACKS: tuple[Attack, ...] = (model_names, sequence_ids, request_ids, cancelled_watches)
