"""The models with random weights, the servers, and the correct answers for the clients."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from kit.certificates import Certificates, write_certificates
from kit.served import served_process
from rnnserve.export import Floats, Integers, Lengths, publish
from rnnserve.protos import health_pb2

_PROTOS = Path(health_pb2.__file__).parents[2]

_WALK_LENGTHS = (3, 1, 5, 8, 2, 64, 17)
_TOKENS = 50


class Classifier(nn.Module):
    """Computes logits from packed walks. Its hidden state is an input and an output, so the server can keep it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(2, 16, batch_first=True)
        self.classify = nn.Linear(16, 2)

    def forward(self, input: Tensor, lengths: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.rnn(packed, h_0)
        return self.classify(h_n[-1]), h_n


class Text(nn.Module):
    """Computes logits from packed tokens with a GRU. Its state is not an output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_TOKENS, 6)
        self.gru = nn.GRU(6, 8, batch_first=True)
        self.classify = nn.Linear(8, 3)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.gru(packed)
        return self.classify(h_n[-1])


@dataclasses.dataclass(frozen=True)
class Answers:
    """Inputs and the results of eager PyTorch, in the form that programs read.

    Attributes:
        classifier: `model`, `labels`, `walks` (lists of points), `logits` (a list of two for each walk).
        text: `model`, `labels`, `rows` (lists of tokens), `logits` (a list of three for each row).
    """

    classifier: dict[str, Any]
    text: dict[str, Any]


def publish_models(repository: Path) -> Answers:
    """Publish the models, with random weights from a seed, into an empty folder."""
    torch.manual_seed(11)
    classifier, text = Classifier().eval(), Text().eval()
    labels = {"direction": ["clockwise", "counter-clockwise"], "text": ["negative", "neutral", "positive"]}
    publish(
        classifier,
        "direction",
        repository=repository,
        inputs={
            "input": Floats("batch", "sequence", ("features", 2)),
            "lengths": Lengths(),
            "h_0": Floats(("layers * directions", 1), "batch", ("hidden", 16)),
        },
        outputs=["logits", "h_n"],
        states={"h_n": "h_0"},
        labels=labels["direction"],
        progress=False,
    )
    publish(
        text,
        "text",
        repository=repository,
        inputs={"tokens": Integers("batch", "sequence", high=_TOKENS), "lengths": Lengths()},
        outputs=["logits"],
        labels=labels["text"],
        progress=False,
    )
    walks = [torch.randn(length, 2) for length in _WALK_LENGTHS]
    rows = [torch.randint(_TOKENS, (length,)) for length in _WALK_LENGTHS]
    with torch.no_grad():
        of_walks = [classifier(walk[None], torch.tensor([len(walk)]), torch.zeros(1, 1, 16))[0][0] for walk in walks]
        of_rows = [text(row[None], torch.tensor([len(row)]))[0] for row in rows]
    return Answers(
        {
            "model": "direction",
            "labels": labels["direction"],
            "walks": [walk.tolist() for walk in walks],
            "logits": [logits.tolist() for logits in of_walks],
        },
        {
            "model": "text",
            "labels": labels["text"],
            "rows": [row.tolist() for row in rows],
            "logits": [logits.tolist() for logits in of_rows],
        },
    )


TRANSPORTS: dict[str, dict[str, Any]] = {"fast path": {}, "plain": {"plain": True}, "native": {"transport": "native"}}
"""Settings of each transport. The native one has no TLS, so that server is on the fast path."""


@contextlib.contextmanager
def serve_all(repository: Path, answers: Answers, transport: str, work: Path) -> Iterator[Path]:
    """Serve the repository three times on free ports: plainly, with explicit model control, and over TLS.

    Args:
        repository: The folder that `publish_models` has written.
        answers: The result of `publish_models`.
        transport: "fast path", "plain" or "native".
        work: A folder for certificates and the programs' plan.

    Yields:
        The plan: a JSON file with `servers` (addresses of "plain", "explicit", "tls") and `http` (the HTTP addresses
        of the same servers), `ca` (a PEM file), `protos` (the folder of the .proto files), and all of `Answers`.
    """
    files: Certificates = write_certificates(work)
    carried = TRANSPORTS[transport]
    settings: dict[str, dict[str, Any]] = {
        "plain": carried,
        "explicit": {"model_control": "explicit", "load_model": answers.classifier["model"], **carried},
        "tls": {"tls_certificate": files.server, "tls_key": files.key(files.server), "plain": transport == "plain"},
    }
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(served_process(repository, http_port=0, **more))
            for name, more in settings.items()
        }
        servers = {name: process.address for name, process in processes.items()}
        plan = work / "plan.json"
        content = {
            "servers": servers,
            "http": {name: process.http_address for name, process in processes.items()},
            "ca": str(files.ca),
            "protos": str(_PROTOS),
            **dataclasses.asdict(answers),
        }
        plan.write_text(json.dumps(content, indent=1))
        yield plan
