"""Count stiff constructions in docstrings and comments, by area, and hold the counts to limits that only go down.

`prose_limits.json` has, for each area and construction, the highest allowed rate per 10,000 words. `--check` fails if a
rate is above its limit. `--lower` writes lower limits for rates that fell, down to the goal. Only an edit by hand
raises a limit.
"""

import argparse
import ast
import io
import json
import math
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMITS = Path(__file__).with_name("prose_limits.json")
AREAS = (
    "benchmarks",
    "cli",
    "client",
    "cluster",
    "common",
    "export",
    "load",
    "models",
    "protos",
    "server",
    "tests",
    "web",
)
# A match may be harmless, but a rate far above that of well-edited projects is not. The second value is the goal.
CONSTRUCTIONS = {
    "'what' as a noun": (
        r"(?<![?\w])[Ww]hat (?!s\b)(?:is|are|was|were|has|have|had|it|they|that|the|a|an|does|did|[a-z]+s)\b",
        8,
    ),
    "'where' for if or when": (
        r"\b[Ww]here (?:it|there|that|this|one|no|none|nothing|all|not|they|a|an|the|each|either|only)\b",
        10,
    ),
    "'one that', 'those that', 'that of'": (r"\b(?:one|ones|those|that) (?:that|which|of|with|without)\b", 8),
    "'Give' for return": (r"^\W*Give\b", 1),
    "programs that tell and say": (r"\b(?:told|tells?|said|says?)\b", 4),
    "'is no'": (r"\b(?:is|are|was|were) no\b", 4),
    "'of its own', 'by itself'": (
        r"\b(?:by itself|by themselves|of its own|of their own|of an? \w+ of its own)\b",
        1,
    ),
    "'that is' clauses": (r"\bthat (?:is|are|was|were|has|have|had)\b", 25),
    "semicolons": (r";", 30),
    "beside, anew, likewise, ', too'": (r"\b(?:[Bb]eside|anew|likewise)\b|, too\b", 2),
}


def prose(path: Path) -> Iterator[str]:
    """Yield the docstrings and comments of a Python file, without names and code."""
    source = path.read_text(encoding="utf-8")
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    for text in [ast.get_docstring(node) or "" for node in nodes] + comments:
        yield re.sub(r"`+[^`]*`+|>>>.*|\S*_\S*", " ", text)


def rates_of(folder: Path) -> dict[str, float]:
    """Matches per 10,000 words in the Python files of a folder, by construction."""
    files = [path for path in sorted(folder.rglob("*.py")) if "_pb2" not in path.name]
    texts = [text for path in files for text in prose(path)]
    words = sum(len(re.findall(r"[A-Za-z']+", text)) for text in texts) or 1
    counts = {
        name: sum(len(re.findall(found, text, re.M)) for text in texts) for name, (found, _) in CONSTRUCTIONS.items()
    }
    return {name: 10_000 * count / words for name, count in counts.items()}


def main() -> int:
    """Print the rates, and compare them with their limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="print only the rates above their limit, and fail if there are any"
    )
    parser.add_argument("--lower", action="store_true", help="lower the limits to the current rates")
    args = parser.parse_args()
    limits: dict[str, dict[str, int]] = json.loads(LIMITS.read_text()) if LIMITS.exists() else {}
    above = 0
    for area in AREAS:
        for name, rate in rates_of(ROOT / area).items():
            # One harmless match more must not fail an area with few words.
            limit = limits.get(area, {}).get(name)
            is_above = limit is not None and rate > limit
            above += is_above
            if is_above or not args.check:
                remark = "  ABOVE ITS LIMIT" if is_above else ""
                print(f"{area:8} {name:36} {rate:6.1f}  limit {limit}  goal {CONSTRUCTIONS[name][1]}{remark}")
            if args.lower:
                ceiling = max(math.ceil(rate) + 1, CONSTRUCTIONS[name][1])  # no lower than the goal
                limits.setdefault(area, {})[name] = ceiling if limit is None else min(limit, ceiling)
    if args.lower:
        LIMITS.write_text(json.dumps(limits, indent=2, ensure_ascii=False) + "\n")
    if args.check and above:
        print("prose: reword what you wrote; CONTRIBUTING.md has the rules", file=sys.stderr)
    return 1 if args.check and above else 0


if __name__ == "__main__":
    sys.exit(main())
