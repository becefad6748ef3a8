"""``python -m bench NAME --json FILE``: run one measurement, print it and write it down."""

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console

from bench import report
from zenso.errors import ZensoError

# Imported only when asked for: each may need packages that the others do not.
BENCHES = {
    "aggregated": "bench.aggregated",
    "bitdelta": "bench.bitdelta",
    "canonical": "bench.canonical",
    "concurrency": "bench.concurrency",
    "crash": "bench.crash",
    "dense": "bench.dense",
    "cross_model": "bench.cross_model",
    "engines": "bench.engines",
    "hostile": "bench.hostile",
    "network": "bench.network",
    "network_soak": "bench.network_soak",
    "partition": "bench.partition",
    "objects": "bench.objects",
    "quality": "bench.quality",
    "rerank": "bench.rerank",
    "robust": "bench.robust",
    "search": "bench.search",
    "server": "bench.server",
    "soak": "bench.soak",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True, help=", ".join(BENCHES))
    wanted = [argument for argument in sys.argv[1:] if argument in BENCHES][:1]
    for name, module in BENCHES.items():
        one = names.add_parser(name)
        one.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the results are written")
        one.add_argument("--quick", action="store_true", help="a short run on a part of the input")
        if name in wanted:
            importlib.import_module(module).add_arguments(one)
    return parser


def main() -> None:
    """Run the measurement that the command line names."""
    options = _parser().parse_args()
    module = importlib.import_module(BENCHES[options.name])
    try:
        results = {**module.run(options), **report.circumstances(sys.argv[1:])}
    except ZensoError as error:
        sys.exit(f"bench {options.name}: {error}")
    report.write(options.json, results)
    report.show(Console(), f"bench {options.name}", results)


if __name__ == "__main__":
    main()
