"""``python -m fuzz kernel|artifact|network|all --seconds N``: search for input that breaks what must not break."""

import argparse
import json
import sys
from pathlib import Path

from fuzz import artifact, kernel, network
from fuzz.finding import Finding

TARGETS = {"artifact": artifact.run, "kernel": kernel.run, "network": network.run}


def main() -> None:
    """Run the fuzzers that the command line names; the exit status is 1 after a finding."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each build of each target (60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers of executions are written")
    options = parser.parse_args()
    chosen = TARGETS if options.target == "all" else {options.target: TARGETS[options.target]}
    done: dict[str, int] = {}
    try:
        for run in chosen.values():
            for name, executions in run(options.seconds):
                sys.stdout.write(f"{name}: {executions:,} executions in {options.seconds} s, no finding\n")
                sys.stdout.flush()
                done[name] = executions
    except Finding as finding:
        sys.exit(f"fuzz: {finding}")
    if options.json:
        options.json.write_text(json.dumps({"seconds_each": options.seconds, "executions": done}, indent=2) + "\n")


if __name__ == "__main__":
    main()
