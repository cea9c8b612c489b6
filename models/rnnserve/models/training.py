"""Training of the direction classifiers. The same seed produces the same bytes.

Each row of each batch is cut at a random point and scaled by a random factor. The classifier thereby learns to classify
every prefix of a walk, because clients stream points, and squares of 0.5 to 2 times the tutorial's size.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from rnnserve.models.architecture import Architecture, architecture_named
from rnnserve.models.classifier import DirectionClassifier
from rnnserve.models.data_loading import Batch, SequenceDataset, data_loader
from rnnserve.models.errors import TrainingError
from rnnserve.models.evaluation import HELD_OUT_SEED, Accuracies, evaluate
from rnnserve.models.sequences import generate_walks

__all__ = ["Schedule", "Trained", "TrainingReport", "train"]


@dataclass(frozen=True)
class Schedule:
    """Hyperparameters of a training.

    Attributes:
        walks: Number of walks, of 2 to 64 points, in the training set.
        epochs: Number of passes over the training set. Each pass cuts the walks at other points.
        batch_size: Rows of a batch.
        learning_rate: The highest learning rate, reached after 30 % of the steps (one cycle).
        weight_decay: Weight decay of AdamW.
        label_smoothing: Probability spread over all classes. It bounds the logits, to about 3.5. Without it
            cross entropy drives them to 9, and float32's rounding error grows with them.
    """

    walks: int = 8192
    epochs: int = 8
    batch_size: int = 128
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.02


_DEFAULT = Schedule()


@dataclass(frozen=True)
class TrainingReport:
    """Results of a training. Two runs with the same seed have equal reports.

    Attributes:
        seed: Seed of weights, walks, order and cuts.
        schedule: The hyperparameters.
        loss: Mean cross entropy over the last epoch, label smoothing included.
        accuracies: Accuracies on held-out sequences.
        largest_logit: The largest absolute logit on the same sequences.
    """

    seed: int
    schedule: Schedule
    loss: float
    accuracies: Accuracies
    largest_logit: float


class Trained(NamedTuple):
    """A classifier in evaluation mode, and the results of its training."""

    classifier: DirectionClassifier
    report: TrainingReport


def train(
    model: str | Architecture, *, seed: int = 13, schedule: Schedule = _DEFAULT, progress: bool = True
) -> Trained:
    """Train a direction classifier on walks of 2 to 64 points, on one CPU thread.

    Equal arguments produce bit-identical weights with the same torch version and CPU type. Torch's global generator,
    thread count, default dtype and gradient mode are restored afterwards, even after an error.

    Args:
        model: A name in `ARCHITECTURES`, or an architecture of 2 features and 2 classes.
        seed: 0 to 2**32 - 1.
        schedule: The hyperparameters.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ArchitectureError: If the name is unknown.
        TrainingError: If the architecture doesn't fit the walks, the seed is out of range, or the accuracies are below
            `ACCURACY_TARGETS`.
    """
    architecture = architecture_named(model) if isinstance(model, str) else model
    if (architecture.features, architecture.classes) != (2, 2):
        raise TrainingError(
            f"the walks have 2 features (x and y) and 2 classes (the directions), but the architecture has "
            f"{architecture.features} and {architecture.classes}"
        )
    if not 0 <= seed < HELD_OUT_SEED:
        raise TrainingError(f"seed is {seed}, expected 0 to {HELD_OUT_SEED - 1}")
    name = model if isinstance(model, str) else architecture.cell
    with _reproducible_torch(seed):
        classifier = DirectionClassifier.of(architecture)
        loss = _fit(classifier, seed, schedule, name if progress else None)
        accuracies, largest_logit = evaluate(classifier)
    if missed := accuracies.missed():
        raise TrainingError(
            f"{name} missed its targets with seed {seed}: {', '.join(missed)}; try another seed or a longer schedule"
        )
    return Trained(classifier, TrainingReport(seed, schedule, loss, accuracies, largest_logit))


def _fit(classifier: DirectionClassifier, seed: int, schedule: Schedule, title: str | None) -> float:
    loader = data_loader(
        SequenceDataset(*generate_walks(schedule.walks, seed=seed)), batch_size=schedule.batch_size, seed=seed
    )
    steps = schedule.epochs * len(loader)
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=schedule.learning_rate, total_steps=steps)
    classifier.train()
    mean = 0.0
    with tqdm(total=steps, desc=title, unit="batch", mininterval=0.5, file=sys.stderr, disable=title is None) as bar:
        for _ in range(schedule.epochs):
            losses = []
            for batch in loader:
                input, lengths, directions = _augment(batch)
                logits: Tensor = classifier(input, lengths)[0]  # (batch, classes) float32
                loss = functional.cross_entropy(logits, directions, label_smoothing=schedule.label_smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                # Gradients through 64 steps of a recurrence sometimes explode. A single such step undoes many others.
                nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
                optimizer.step()
                rates.step()
                losses.append(loss.item())
                bar.update()
            mean = sum(losses) / len(losses)
            bar.set_postfix(loss=f"{mean:.3f}")
    classifier.eval()
    return mean


def _augment(batch: Batch) -> Batch:
    """Cut each row to its first 2 or more points, and scale it by a factor of 1/2 to 2."""
    cuts = 2 + (torch.rand(len(batch.lengths)) * (batch.lengths - 1)).long()  # (batch,) int64, in points
    sizes = torch.exp2(2 * torch.rand(len(cuts), 1, 1) - 1)  # (batch, 1, 1) float32, factors
    return Batch(batch.input[:, : int(cuts.max())] * sizes, cuts, batch.directions)


@contextmanager
def _reproducible_torch(seed: int) -> Iterator[None]:
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        try:
            # More threads would add sums in another order, so that their last bits differ.
            torch.set_num_threads(1)
            torch.set_default_dtype(torch.float32)
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
