"""The command: attack a server, and print what it answered and what a bystander met.

::

    python -m campaigns.drills.wire --target 127.0.0.1:8001 --pid 1234
"""

import argparse
import sys

import tqdm

from .attacks import ATTACKS
from .bystander import Bystander
from .drill import METHODS, drill
from .report import table
from .target import Target, TargetError


def main() -> int:
    """Run the command. The status is 1 where the server is gone, or a request of the bystander failed."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.drills.wire", description=__doc__.splitlines()[0])
    parser.add_argument("--target", metavar="HOST:PORT", help="the server: without TLS, of the Open Inference Protocol")
    parser.add_argument("--model", help="a model that serves; the first of the server's index where it has one")
    parser.add_argument("--pid", type=int, help="the server's process, to watch its memory")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each attack goes on (default 3)")
    parser.add_argument(
        "--only", nargs="+", metavar="ATTACK", help="names of attacks, or words in the names of classes"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table for a document")
    parser.add_argument("--verbose", action="store_true", help="print a line after each attack, too")
    parser.add_argument("--list", action="store_true", help="list the attacks and end")
    args = parser.parse_args()
    if args.list:
        for attack in ATTACKS:
            print(f"{attack.name:28} {attack.kind}: {attack.what}")
        return 0
    if args.target is None:
        parser.error("--target HOST:PORT is needed")
    chosen = [
        a for a in ATTACKS if not args.only or any(word in (a.name, a.kind) or word in a.kind for word in args.only)
    ]
    if not chosen:
        parser.error(f"no attack is called {' or '.join(args.only)}; --list shows them")
    try:
        target = Target(args.target, args.model)
    except TargetError as error:
        print(error, file=sys.stderr)
        return 2
    results = []
    with Bystander(target.address, target.valid) as bystander, tqdm.tqdm(chosen, disable=None, leave=False) as progress:
        for result in drill(target, progress, bystander, args.seconds, args.pid):
            results.append(result)
            if args.verbose:
                progress.write(f"{result.attack.name}, {result.seconds:.1f} s: {result.answers}", file=sys.stderr)
            if len(result.gone) == METHODS:
                break
    target.close()
    print(table(results, markdown=args.markdown))
    return int(any(result.gone or result.seen.failures for result in results))


if __name__ == "__main__":
    sys.exit(main())
