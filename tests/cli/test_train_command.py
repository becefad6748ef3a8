import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra torch")

from tests.zen.training.conftest import write_retrieval_set, write_triplets  # noqa: E402
from zenso.zen.slot_artifact import read_slot_artifact  # noqa: E402

ARTIFACT = "all-MiniLM-L6-v2.safetensors"


@pytest.fixture
def data(zenso_here):
    write_retrieval_set(zenso_here.place / "notes")
    write_triplets(zenso_here.place / "opposites")
    return ["--data", "notes", "--data", "opposites"]


def read(path):
    return read_slot_artifact(path.read_bytes(), str(path))


def test_all_stages_and_again(zenso, data):
    done = zenso("train", *data, "--out", "run", "--steps", "3", "--json")
    assert [report["stage"] for report in done.json] == [1, 2, 3]
    run = zenso.place / "run"
    for stage in (1, 2, 3):
        folder = run / f"stage-{stage}"
        assert {path.name for path in folder.iterdir()} == {"checkpoint.pt", "report.json", "report.md", "loss.png"}
        report = json.loads((folder / "report.json").read_text())
        assert set(report["before"]) == set(report["after"]) == {"notes", "opposites"}
        assert set(report["before"]["notes"]) == {"1920", "3840", "7680"}
        assert report["command"].startswith("zenso train --data notes")
        assert "| notes | 1,920 |" in (folder / "report.md").read_text()
    negatives = np.load(run / "notes-negatives.npy")
    assert negatives.shape == (60, 30)
    before = (run / ARTIFACT).read_bytes()
    again = zenso("train", *data, "--out", "run", "--steps", "3")
    assert "stage 3: validation" in again.out
    assert (run / ARTIFACT).read_bytes() == before
    read(run / ARTIFACT)


def test_a_stage_after_another(zenso_here, data):
    zenso_here("train", *data, "--out", "first", "--stage", "1", "--steps", "2", "--share", "7", "--cache", "states")
    given = zenso_here.place / "first" / ARTIFACT
    zenso_here("train", *data, "--out", "second", "--stage", "3", "--steps", "2", "--from", given, "--cache", "states")
    assert read(zenso_here.place / "second" / ARTIFACT).basis.share == 7


def test_no_steps_give_the_principal_axes(zenso_here, data):
    done = zenso_here("train", *data, "--out", "run", "--stage", "1", "--steps", "0", "--json")
    assert done.json[0]["before"] == done.json[0]["after"]
    assert read(zenso_here.place / "run" / ARTIFACT).basis.share == 21


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "missing"], "missing is no training data"),
        (["--data", "notes", "--from", "nothing.safetensors"], "cannot be read (No such file or directory)"),
        (["--data", "notes", "--head", "--share", "3"], "--share is of slots"),
    ],
)
def test_what_cannot_be_used(zenso_here, data, arguments, said):
    done = zenso_here("train", *arguments, "--out", "run", "--steps", "1", code=1)
    assert done.is_one_error_line
    assert said in done.err


def test_a_folder_of_another_run(zenso_here, data):
    zenso_here("train", *data, "--out", "run", "--stage", "1", "--steps", "2")
    done = zenso_here("train", *data, "--out", "run", "--stage", "1", "--steps", "2", "--seed", "9", code=1)
    assert "a run with other seed" in done.err
