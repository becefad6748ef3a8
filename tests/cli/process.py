"""The `zenso` command as a process."""

import json
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(sysconfig.get_path("scripts")) / "zenso"


@dataclass
class Result:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def is_one_error_line(self):
        return self.code == 1 and self.err.startswith("error: ") and self.err.count("\n") == 1


def child_environment(extra=None):
    """The environment of these tests without the user's settings for Zenso, except where models are kept."""
    ours = {name: value for name, value in os.environ.items() if name not in ("ZENSO_MEMORY", "NO_COLOR")}
    return {**ours, "PYTHONWARNINGS": "error", "COLUMNS": "80", **(extra or {})}
