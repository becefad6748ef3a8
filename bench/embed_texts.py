"""The process whose memory ``peak_memory`` measures: load a model, embed the texts of a JSON list (standard input)."""

import json
import sys

from zenso.canonical import CanonicalEncoder
from zenso.models import load_artifact

if __name__ == "__main__":
    CanonicalEncoder(load_artifact(sys.argv[1])).encode(json.load(sys.stdin))
