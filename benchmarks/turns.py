"""How the benchmarks measure: sides take turns, so that a busy neighbor slows all alike."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Where the COCO dataset lies for those benchmarks that use real images when there are any.
COCO_DIR = ROOT.parent / "shared" / "dataset" / "COCO"


def argument_parser(description):
    """A parser with what all benchmarks have in common; `description` is the benchmark's docstring."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--smoke", action="store_true", help="only see whether it runs, in seconds; its figures mean little"
    )
    return parser


def parse_with_peer(description):
    """Arguments of a benchmark that can measure the official implementation, too."""
    parser = argument_parser(description)
    parser.add_argument(
        "--peer",
        metavar="DIR",
        help="a checkout of leoxiaobin/deep-high-resolution-net.pytorch to measure as well; "
        "requirements-torch.txt has to be installed",
    )
    arguments = parser.parse_args()
    if not arguments.peer:
        print("without --peer DIR the rows of the official implementation are left out")
    return arguments


def in_turns(sides, rounds):
    """Lets each side measure once a round.

    Args:
        sides: {name: function, returns a number}.
        rounds: how many.

    Returns:
        {name: [number of each round]}.
    """
    found = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            found[name].append(measure())
    return found


def ratio(over, under):
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def rate(once, seconds, clock=time.perf_counter):
    """A function that measures people/s: it repeats `once`, which returns instances, for so many seconds.

    Args:
        once: the function.
        seconds: how long.
        clock: whose seconds people/s are of; `time.process_time` counts the processor's, of all threads.
    """

    def measure():
        start, instances, begin = time.perf_counter(), 0, clock()
        while not instances or time.perf_counter() - start < seconds:
            instances += once()
        return instances / (clock() - begin)

    return measure


class Peer:
    """The official implementation in its own process, see ``benchmarks/peer.py``.

    Args:
        checkout: folder of its checkout.
        what: "reader", "forward" or "step".
        options: more of its command line.
    """

    def __init__(self, checkout, what, *options):
        command = [sys.executable, str(ROOT / "benchmarks" / "peer.py"), checkout, what, *map(str, options)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        self._read("ready")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _read(self, what):
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"the official implementation ended before {what}; its last lines above say why")
        return line

    def once(self):
        """Seconds of one call."""
        return self._ask("once")[1]

    def rate(self):
        """People/s over some seconds."""
        instances, seconds = self._ask("go")
        return instances / seconds

    def _ask(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return json.loads(self._read("an answer"))
