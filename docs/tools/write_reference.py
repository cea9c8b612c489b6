"""Write the parts of the documentation that repeat what the code says.

A page has a part between `<!-- write_reference.py: NAME -->` and `<!-- end -->`, and `PARTS` has the function that
yields its lines. `python docs/tools/write_reference.py` writes the parts. `--check` fails if one differs from the code.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

import artifact_reference
import commands_reference
import errors_reference
import limits_reference
import metrics_reference
import protocols_reference
import python_reference

DOCS = Path(__file__).parents[1]

_PART = re.compile(r"(?<=<!-- write_reference\.py: )(?P<name>[\w-]+)(?P<head> -->\n).*?(?=<!-- end -->)", re.DOTALL)


def _of_campaign(module: str, function: str) -> Callable[[], Iterator[str]]:
    """Import the function when it is called: the modules of tests are not in this program's types."""
    return lambda: getattr(importlib.import_module(f"campaigns.{module}"), function)()


PARTS: MappingProxyType[str, Callable[[], Iterator[str]]] = MappingProxyType(
    {
        "commands": commands_reference.commands,
        "exit-statuses": commands_reference.exit_statuses,
        "export": lambda: python_reference.public_names("export"),
        "server": lambda: python_reference.public_names("server"),
        "client": lambda: python_reference.public_names("client"),
        "methods": protocols_reference.methods,
        "parameters": protocols_reference.parameters,
        "metadata": protocols_reference.metadata,
        "messages": protocols_reference.messages,
        "routes": protocols_reference.routes,
        "schemas": protocols_reference.schemas,
        "http-statuses": protocols_reference.statuses,
        "statuses": errors_reference.statuses,
        "errors": errors_reference.errors_of_server,
        "limits": limits_reference.limits,
        "tolerances": limits_reference.tolerances,
        "metrics": metrics_reference.metrics,
        "buckets": metrics_reference.buckets,
        "manifest": artifact_reference.manifest,
        "operators": _of_campaign("operator_grid.document", "document"),
        "grpc-clients": _of_campaign("conformance.document", "documented_grpc_clients"),
        "http-clients": _of_campaign("conformance.document", "documented_http_clients"),
    }
)


def main() -> int:
    """Write the parts, or check them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a part is out of date")
    args = parser.parse_args()
    sys.path += [str(DOCS.parent), str(DOCS.parent / "tests")]
    found: list[str] = []
    stale = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        found += [part["name"] for part in _PART.finditer(text)]
        written = _PART.sub(_written, text)
        if written != text:
            stale.append(page.relative_to(DOCS).as_posix())
            if not args.check:
                page.write_text(written, encoding="utf-8")
    if sorted(found) != sorted(PARTS):
        print(f"the pages must have each of {', '.join(PARTS)} once, and have {', '.join(found)}", file=sys.stderr)
        return 1
    if stale and args.check:
        print(f"docs: {', '.join(stale)} differs from the code; run `make docs`", file=sys.stderr)
        return 1
    return 0


def _written(part: re.Match[str]) -> str:
    if part["name"] not in PARTS:
        raise SystemExit(f"docs/tools/write_reference.py cannot write a part named {part['name']}")
    lines = "\n".join(PARTS[part["name"]]()).strip()
    return f"{part['name']}{part['head']}\n{lines}\n\n"


if __name__ == "__main__":
    sys.exit(main())
