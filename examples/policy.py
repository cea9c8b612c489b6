"""A policy that acts one step at a time, so its tensors have no sequence axis.

It maps an observation and a state to the logits of the actions and the next state.

Run it with `python examples/policy.py`, or publish it with `rnnserve export examples/policy.py:publication`.
"""

import tempfile

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.client import Client
from rnnserve.export import Floats, Publication, publish
from rnnserve.server.testing import serve

ACTIONS, HIDDEN = ["left", "right"], 16


class Policy(nn.Module):
    """One step of a GRU, and the logits of the actions."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2, HIDDEN)
        self.act = nn.Linear(HIDDEN, len(ACTIONS))

    def forward(self, observation: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, actions) and the next state (batch, hidden), both float32."""
        h_next = self.cell(observation, h)
        return self.act(h_next), h_next


def train(module: Policy, steps: int = 40) -> None:
    """Train to move against the sum of the first coordinates so far, in episodes of 6 steps."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        observations, h = torch.randn(32, 6, 2), torch.zeros(32, HIDDEN)
        right = (observations[:, :, 0].cumsum(1) < 0).long()  # (batch, steps)
        loss = torch.zeros(())
        for step in range(6):
            logits, h = module(observations[:, step], h)
            loss = loss + nn.functional.cross_entropy(logits, right[:, step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def publication() -> Publication:
    """Train the module, and describe its tensors."""
    torch.manual_seed(0)
    module = Policy()
    train(module)
    inputs = {"observation": Floats("batch", ("features", 2)), "h": Floats("batch", ("hidden", HIDDEN))}
    outputs, states = ["logits", "h_next"], {"h_next": "h"}
    return Publication(module.eval(), "policy", inputs=inputs, outputs=outputs, states=states, labels=ACTIONS)


if __name__ == "__main__":
    it, h = publication(), torch.zeros(1, HIDDEN)
    with tempfile.TemporaryDirectory() as repository:
        publish(it, repository=repository)
        with serve(repository) as server, Client(server.address) as client, client.session("policy") as session:
            for observation in torch.randn(5, 2):
                answer = session.step(observation.numpy())
                logits, h = it.module(observation[None], h)
                np.testing.assert_allclose(answer["logits"], logits[0].detach(), rtol=1e-4, atol=1e-5)
                print(observation.numpy(), ACTIONS[answer["logits"].argmax()])
