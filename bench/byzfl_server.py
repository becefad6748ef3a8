"""Run by a Python that has ByzFL: combine rows by its rules; requests and answers are lines of JSON.

Only its aggregators are imported: the rest of the package wants data sets and plots.
"""

import importlib.metadata
import importlib.util
import json
import sys
import time
import types

import numpy as np
import torch

found = importlib.util.find_spec("byzfl")
if not found or not found.submodule_search_locations:
    sys.exit("no module named byzfl")
package = types.ModuleType("byzfl")
package.__path__ = found.submodule_search_locations
sys.modules["byzfl"] = package
from byzfl import aggregators  # noqa: E402 - after the package is there

torch.set_num_threads(1)
_, source, target = sys.argv


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        if request is None:
            names = ("byzfl", "torch", "numpy")
            print(json.dumps({name: importlib.metadata.version(name) for name in names}), flush=True)
            continue
        rows = np.load(source)
        settings = dict(request["settings"])
        made = getattr(aggregators, request["rule"])(**settings)
        given = torch.from_numpy(rows) if request["torch"] else rows
        start = time.perf_counter()
        result = made(given)
        seconds = time.perf_counter() - start
        np.save(target, np.asarray(result))
        print(json.dumps(seconds), flush=True)


main()
