import re

import pytest

from zenso.errors import ModelError
from zenso.models import CATALOGUE, lookup


@pytest.mark.parametrize(
    "name", ["all-MiniLM-L6-v2", "ALL-MINILM-L6-V2", "sentence-transformers/all-MiniLM-L6-v2", " all-minilm-l6-v2\n"]
)
def test_lookup_takes_name_or_id_in_any_case(name):
    assert lookup(name).name == "all-MiniLM-L6-v2"


def test_unknown_model_names_the_known_and_the_nearest():
    with pytest.raises(ModelError, match=r"'all-MiniLM-L6'.*Did you mean all-MiniLM-L6-v2\?.*Known models: all-Mini"):
        lookup("all-MiniLM-L6")


@pytest.mark.parametrize("name", ["", "zzz", "\ud800", "../../etc"])
def test_nothing_near_gives_no_hint(name):
    with pytest.raises(ModelError, match="Known models") as caught:
        lookup(name)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_entries_are_well_formed(entry):
    assert entry.wheels or entry.hub
    assert entry.size == sum(file.size for file in entry.files)
    assert len({wheel.piece is None for wheel in entry.wheels}) <= 1
    for file in entry.files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", file.name), "a plain name, so that it cannot leave its folder"


def test_names_are_unambiguous():
    spellings = [spelling.casefold() for entry in CATALOGUE for spelling in {entry.name, entry.model_id}]
    assert len(spellings) == len(set(spellings))
