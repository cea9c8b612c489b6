"""The text that Prometheus reads: format 0.0.4, written here, since all of it is made of one table of numbers.

Counters are of all processes that there have been, gauges of those that live. Histograms have seconds, or rows. What is
not a number stays the same from one scrape to the next while the same versions are known: it is written once, and the
numbers are put into it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from rnnserve.common.front_counts import NUMBERS
from rnnserve.server.counting import places
from rnnserve.server.counting.families import (
    BUILD_INFO,
    CERTIFICATE_END,
    MODEL_INFO,
    OF_FRONTS,
    OF_OTHER,
    OF_PROCESS,
    OF_TOKENS,
    OF_VERSIONS,
    RESTART_REASONS,
    RESTARTS,
    TRITON,
)
from rnnserve.server.counting.family import Family
from rnnserve.server.counting.table import OTHER
from rnnserve.server.counting.totals import Total

__all__ = ["CONTENT_TYPE", "Exposition", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Names = list[tuple[str, str, dict[str, str]]]
"""Model, version, and what else there is to tell of it."""


class Exposition:
    """Writes metrics again and again."""

    def __init__(self, version: str, *, has_triton_names: bool = True) -> None:
        """Prepare.

        Args:
            version: Version of the server.
            has_triton_names: Whether to write the same numbers under Triton's names, `nv_inference_…`, too.
        """
        self._version = version
        self._of_versions = OF_VERSIONS + TRITON if has_triton_names else OF_VERSIONS
        self._names: _Names = []
        self._has_certificate = False
        self._text = ""

    def text(
        self,
        totals: Mapping[tuple[str, str], Total],
        restarts: Mapping[str, int],
        of_fronts: Sequence[float] = (0.0,) * NUMBERS,
    ) -> bytes:
        """Write all metrics.

        Args:
            totals: Totals by model and version; the process's are those of ("", "").
            restarts: Number of workers that were replaced, by reason.
            of_fronts: Numbers of the HTTP fronts together (`front_counts`).
        """
        process = totals[_PROCESS].counts if _PROCESS in totals else Total().counts
        found = sorted([(*name, total.about) for name, total in totals.items() if name != _PROCESS], key=_by_name)
        certificate = process[places.TLS_NOT_AFTER]
        if not self._text or found != self._names or bool(certificate) != self._has_certificate:
            self._names, self._has_certificate = found, bool(certificate)
            self._text = self._form(found)
        rows, others, tokens = (
            [totals[model, version].counts for model, version, _ in names] for names in _by_kind(found)
        )
        numbers = chain(
            _numbers(self._of_versions, rows, others),
            _numbers(OF_PROCESS, [process]),
            _numbers(OF_TOKENS, tokens),
            _numbers(OF_FRONTS, [of_fronts]),
            _numbers([CERTIFICATE_END], [process] if certificate else []),
            _numbers([RESTARTS], [[restarts.get(reason, 0) for reason in RESTART_REASONS]]),
        )
        return (self._text % tuple(numbers)).encode()

    def _form(self, names: _Names) -> str:
        """Write all that is no number."""
        of_models, of_others, of_tokens = _by_kind(names)
        labels, others = (
            [_labels({"model": model, "version": version}) for model, version, _ in kind]
            for kind in (of_models, of_others)
        )
        tokens = [_labels({"token": places.token_of_row(row)}) for row, _, _ in of_tokens]
        made = [_family(family, labels, others) for family in self._of_versions]
        made += [_family(family, [""]) for family in OF_PROCESS]
        made += [_family(family, tokens) for family in OF_TOKENS]
        made += [_family(family, [""]) for family in OF_FRONTS]
        made.append(_family(CERTIFICATE_END, [""] if self._has_certificate else []))
        made.append(_family(RESTARTS, [""]))
        known = [_labels({"model": model, "version": version, **about}) for model, version, about in names if about]
        made.append(_family(MODEL_INFO, known))
        made.append(_family(BUILD_INFO, [_labels({"version": self._version})]))
        return "".join(made)


def exposition(
    totals: Mapping[tuple[str, str], Total], restarts: Mapping[str, int], version: str, *, has_triton_names: bool = True
) -> bytes:
    """Write all metrics once; the arguments are those of `Exposition` and of its `text`."""
    return Exposition(version, has_triton_names=has_triton_names).text(totals, restarts)


_PROCESS = ("", "")
_OF_OTHER = {family.name: family for family in OF_OTHER}


def _by_kind(names: _Names) -> tuple[_Names, _Names, _Names]:
    """Those of versions, of what has no model, and of tokens."""
    kinds: tuple[_Names, _Names, _Names] = [], [], []
    for entry in names:
        kinds[1 if entry[0] == OTHER else 2 if places.token_of_row(entry[0]) else 0].append(entry)
    return kinds


def _by_name(found: tuple[str, str, dict[str, str]]) -> tuple[str, str]:
    return found[:2]


def _family(family: Family, rows: Sequence[str], others: Sequence[str] = ()) -> str:
    """Write a family of rows with these labels, and of those without a model; nothing where there is no sample."""
    lines = [family.lines(labels) for labels in rows]
    lines += [_OF_OTHER[family.name].lines(labels) for labels in others if family.name in _OF_OTHER]
    return family.head() + "".join(lines) if lines else ""


def _numbers(
    families: Sequence[Family], rows: Sequence[Sequence[float]], others: Sequence[Sequence[float]] = ()
) -> Iterator[float]:
    """The numbers of the same samples, in their order."""
    for family in families:
        for row in rows:
            yield from family.numbers(row)
        if family.name in _OF_OTHER:
            for row in others:
                yield from _OF_OTHER[family.name].numbers(row)


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join([f'{key}="{_escaped(value)}"' for key, value in labels.items()])


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
