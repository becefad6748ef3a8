"""The process that atheris drives: ``artifact_target.py FOLDER [libFuzzer options]``.

A small artifact is bent as the input says and signed again, so that its digests let the bending pass; whatever reads it
then must either work or raise an error of Zenso's own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))  # the small model lies in the folder above

with atheris.instrument_imports(include=["zenso.canonical.artifact", "zenso.canonical.tokenizer"]):
    from zenso.canonical import CanonicalEncoder, ModelProvenance, Want, open_artifact
    from zenso.canonical.artifact import write_artifact

from bench.small_model import SmallModel
from zenso.errors import ZensoError

TEXTS = ["a b, c", "x" * 70 + " y z!", "\u00e9 " + "ab " * 60]
VALUES: list[Any] = [0, 1, -1, 16, 64, 512, 513, 2**31, 2**63, 2**70, True, None, "", "x", "a" * 1001, [], {}, 0.5]


class Bender:
    """One valid artifact, and ways to bend it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bent.zenso"
        artifact = SmallModel().open(folder)
        self.data = artifact.path.read_bytes()
        self.config = dict(artifact.config)
        self.sections = {
            "kernel": artifact.kernel.tobytes(),
            "words": artifact.words.tobytes(),
            "shifts": artifact.shifts.tobytes(),
            "tokenizer": artifact.tokenizer,
        }

    def raw(self, source: atheris.FuzzedDataProvider) -> None:
        """Change bytes of the file, mostly of its head, or cut it."""
        data = bytearray(self.data)
        for _ in range(source.ConsumeIntInRange(1, 4)):
            most = len(data) - 1 if source.ConsumeBool() else 1000
            at = source.ConsumeIntInRange(0, most)
            patch = source.ConsumeBytes(source.ConsumeIntInRange(1, 8))
            data[at : at + len(patch)] = patch
        end = len(data) if source.ConsumeBool() else source.ConsumeIntInRange(0, len(data))
        self.path.write_bytes(data[:end])

    def header(self, source: atheris.FuzzedDataProvider) -> None:
        """Change values of the configuration."""
        config = dict(self.config)
        for _ in range(source.ConsumeIntInRange(1, 3)):
            name = source.PickValueInList(sorted(config))
            if source.ConsumeBool():
                config[name] = source.PickValueInList(VALUES)
            elif source.ConsumeBool():
                config[name] = source.ConsumeUnicode(20)
            else:
                del config[name]
                if not config:
                    break
        write_artifact(self.path, config, self.sections)

    def section(self, source: atheris.FuzzedDataProvider) -> None:
        """Change, cut or lengthen sections, and sign them."""
        sections = dict(self.sections)
        name = source.PickValueInList(sorted(sections))
        data = bytearray(sections[name])
        for _ in range(source.ConsumeIntInRange(1, 6)):
            most = max(0, len(data) - 4)
            at = source.ConsumeIntInRange(0, most if source.ConsumeBool() else min(most, 700))
            if name == "tokenizer":
                patch = source.ConsumeBytes(source.ConsumeIntInRange(0, 6))
                data[at : at + source.ConsumeIntInRange(0, 6)] = patch
            else:
                edge = source.PickValueInList([0, 1, -1, 16, 512, 1024, 2**31 - 1, -(2**31), source.ConsumeInt(4)])
                data[at : at + 4] = (edge & 0xFFFFFFFF).to_bytes(4, "little")
        if source.ConsumeIntInRange(0, 7) == 0:
            data = data[: source.ConsumeIntInRange(0, len(data))]
        sections[name] = bytes(data)
        write_artifact(self.path, self.config, sections)


def main() -> None:
    """Bend, read, run."""
    bender = Bender(Path(sys.argv.pop(1)))
    ways = (bender.raw, bender.header, bender.section, bender.section)

    def one(data: bytes) -> None:
        source = atheris.FuzzedDataProvider(data)
        try:
            ways[source.ConsumeIntInRange(0, len(ways) - 1)](source)
            artifact = open_artifact(bender.path)
            encoder = CanonicalEncoder(artifact, threads=1)
            encoder.encode(TEXTS, Want.POOLED | Want.TOKENS)
            json.loads(ModelProvenance.of(artifact).to_json())
        except ZensoError:
            pass

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
