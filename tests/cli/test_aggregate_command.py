import json
import re

import numpy as np
import pytest

from zenso.cli.aggregate import read_reports
from zenso.errors import InputError


@pytest.fixture
def rows(zenso):
    rows = np.random.default_rng(0).standard_normal((12, 20)).astype(np.float32)
    rows[:3] = 500
    np.save(zenso.place / "v.npy", rows)
    return rows


def test_a_file_of_floats(zenso, rows):
    told = zenso("aggregate", "v.npy", "--f", 3, "--outliers", "--json").json
    assert (told["rule"], told["rows"], told["f"], told["exact"]) == ("median", 12, 3, False)
    np.testing.assert_allclose(told["vector"], np.median(rows, axis=0), rtol=1e-6)
    assert set(told["outliers"]["rows"]) >= {0, 1, 2}
    krum = zenso("aggregate", "v.npy", "--rule", "multi_krum", "--f", 3, "-o", "out.npy")
    assert krum.out.splitlines()[0] == "multi_krum of 12 rows, 3 of which may be hostile, in floats"
    assert "rows used: 3, 4, 5, 6, 7, 8, 9, 10, 11" in krum.out
    np.testing.assert_allclose(np.load(zenso.place / "out.npy"), rows[3:].mean(axis=0)[None], rtol=1e-4, atol=1e-6)


def test_lines_with_weights_and_whole_numbers(zenso):
    lines = [{"vector": [1, -5], "weight": 2}, {"vector": [7, 0], "weight": 2}, {"vector": [30000, 9], "weight": 1}]
    (zenso.place / "v.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told = zenso("aggregate", "v.jsonl", "--f", 1, "--json").json
    assert (told["exact"], told["vector"]) == (True, [7, 0])
    assert "7 0" in zenso("aggregate", "v.jsonl").out
    (zenso.place / "plain.jsonl").write_text("[1.5]\n[2]\n\n[4]\n")
    np.save(zenso.place / "w.npy", np.array([1.0, 1.0, 1.0]))
    told = zenso("aggregate", "plain.jsonl", "-r", "mean", "-w", "w.npy", "--json").json
    assert (told["exact"], told["vector"]) == (False, [2.5])


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("text.jsonl", "no json", "line 1 is not JSON"),
        ("kinds.jsonl", '["a"]', "no list of numbers"),
        ("flags.jsonl", "[1]\n[true]", "line 2 is no list of numbers"),
        ("keys.jsonl", '{"vector": [1], "stake": 2}', "other keys"),
        ("lengths.jsonl", "[1]\n[1, 2]", "line 2 has 2 numbers, the first 1"),
        ("weights.jsonl", '{"vector": [1], "weight": 2}\n[2]', "1 weights for 2 vectors"),
        ("large.jsonl", f"[{10**400}]", "too large for a float"),
        ("deep.jsonl", "[" * 100_000, "not JSON"),
        ("vectors.csv", "1,2", "does not end in .npy or .jsonl"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, named):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{re.escape(name)}.*{re.escape(named)}"):
        read_reports(tmp_path / name, None)


def test_what_cannot_be_used_is_one_line(zenso, rows):
    assert "krum needs n >= 2f + 3 = 13 rows" in zenso("aggregate", "v.npy", "-r", "krum", "--f", 5, code=1).err
    (zenso.place / "nan.jsonl").write_text("[NaN, 1.0]")
    for arguments in (("none.npy",), ("nan.jsonl",), ("v.npy", "-w", "none.npy")):
        assert zenso("aggregate", *arguments, code=1).is_one_error_line
