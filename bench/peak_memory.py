"""Peak resident memory of a fresh process that loads a model and embeds texts.

Linux hands the peak of the process that starts another on to it, so a large one would report itself. That is why a
small process, this module as a program, stands between the two: it starts the one to be measured and prints its peak.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence

from zenso.errors import ModelError

_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes that ru_maxrss counts in


def peak_memory_mb(model: str, texts: Sequence[str], engine: str | None = None) -> float:
    """Return the peak in MB (10^6 bytes); ``engine`` as in ``ZENSO_ENGINE``, by default what runs here.

    Raises
    ------
    ModelError
        The process failed.
    """
    environment = {**os.environ, **({} if engine is None else {"ZENSO_ENGINE": engine})}
    command = [sys.executable, "-m", __name__, model]
    done = subprocess.run(
        command, check=False, input=json.dumps(texts), capture_output=True, text=True, env=environment
    )
    if done.returncode:
        message = f"embedding in a process of its own failed: {done.stderr.strip().splitlines()[-1:]}"
        raise ModelError(message)
    return int(done.stdout) / 1e6


if __name__ == "__main__":
    subprocess.run([sys.executable, "-m", "bench.embed_texts", *sys.argv[1:]], check=True)
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _UNIT))
