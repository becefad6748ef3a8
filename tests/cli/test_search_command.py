import subprocess

import pytest

from tests.cli.process import SCRIPT, child_environment
from zenso.cli.hits import ShownHit, print_hits
from zenso.cli.search import parse_where
from zenso.errors import InputError


def test_json(zenso, notes):
    found = zenso("search", "how to bake", "-m", notes, "-k", "2", "--json").json
    assert sorted(found) == ["documents", "hits", "query", "seconds"]
    assert (found["query"], found["documents"], len(found["hits"])) == ("how to bake", 4, 2)
    best = found["hits"][0]
    assert sorted(best) == ["id", "metadata", "path", "rank", "score", "text"]
    assert best["rank"] == 1
    assert best["text"].startswith("# Bread")
    assert best["score"] > found["hits"][1]["score"]


def test_text(zenso, notes):
    result = zenso("search", "bread and water", "-m", notes, "-k", "1")
    heading, *passage = result.out.splitlines()
    assert heading.startswith("1. ")
    assert "kitchen.md:1" in heading
    assert passage == ["   # Bread", "   Bread needs flour, water, salt and time."]
    assert result.err == ""
    assert "\x1b" not in result.out


def test_explain(zenso_here, notes):
    found = zenso_here("search", "how to bake", "-m", notes, "-k", "2", "--json", "--explain").json
    assert sorted(found) == ["documents", "explanation", "hits", "query", "seconds"]
    stages = {stage["name"]: stage for stage in found["explanation"]["stages"]}
    assert list(stages) == ["codes", "words", "fused"]  # so few documents are not scanned first
    assert stages["codes"]["considered"] == 4
    best = stages["fused"]["candidates"]
    assert [candidate["id"] for candidate in best[:2]] == [hit["id"] for hit in found["hits"]]
    assert best[0]["score"] == pytest.approx(found["hits"][0]["score"], abs=1e-6)
    shown = zenso_here("search", "how to bake", "-m", notes, "-k", "2", "--explain").out
    assert "stage codes: 4 considered, 4 left" in shown
    assert found["hits"][0]["id"] in shown
    assert "explanation" not in zenso_here("search", "how to bake", "-m", notes, "--json").json


def test_filters(zenso_here, notes):
    def texts(*where):
        options = [part for text in where for part in ("--where", text)]
        return {hit["text"] for hit in zenso_here("search", "story", "-m", notes, "--json", *options).json["hits"]}

    assert texts("year=1851") == {"A whale hunt at sea"}
    assert texts("lang=de", '{"year": {"$exists": true}}') == {"Ein Zauberberg"}
    result = zenso_here("search", "story", "-m", notes, "--where", "lang=fr")
    assert (result.out, result.err.count("\n")) == ("", 1)
    assert "nothing found" in result.err


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ([], None),
        (["lang=en"], {"lang": "en"}),
        (["year=2020"], {"year": {"$in": ["2020", 2020]}}),
        (["a=b=c", 'd="x"'], {"$and": [{"a": "b=c"}, {"d": '"x"'}]}),
        (['{"$not": {"a": 1}}'], {"$not": {"a": 1}}),
    ],
)
def test_where(given, condition):
    assert parse_where(given) == condition


@pytest.mark.parametrize("given", ["lang", "=en", "{lang: en}"])
def test_where_that_makes_no_sense(given):
    with pytest.raises(InputError, match="--where"):
        parse_where([given])


def test_rerank_orders_by_the_text(zenso_here, notes):
    options = ("search", "what tomatoes want", "-m", notes, "--json")
    plain, reranked = zenso_here(*options).json["hits"], zenso_here(*options, "--rerank").json["hits"]
    assert {hit["id"] for hit in plain} == {hit["id"] for hit in reranked}
    assert reranked[0]["text"].startswith("Tomatoes")
    assert [hit["score"] for hit in plain] != [hit["score"] for hit in reranked]


def test_no_memory(zenso):
    result = zenso("search", "anything", code=1)
    assert result.is_one_error_line
    assert "no memory at memory.zenso" in result.err
    assert "zenso index" in result.err
    assert not (zenso.place / "memory.zenso").exists()


def test_an_empty_memory(zenso_here):
    (zenso_here.place / "empty.txt").touch()
    zenso_here("index", "empty.txt")
    result = zenso_here("search", "anything")
    assert (result.out, result.err) == ("", "nothing found: memory.zenso holds 0 chunks\n")
    assert zenso_here("search", "anything", "--json").json["hits"] == []


def test_a_reader_that_has_seen_enough(notes):
    command = f"'{SCRIPT}' search water -m '{notes}' --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=child_environment())
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_what_a_person_sees(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    lines = [f"line {number} of a long passage about nothing at all" for number in range(30)]
    lines[20] = "here dates are parsed \x1b[31m[red]from[/red] \u202e text"
    hit = ShownHit(1, 0.5, "id", "\n".join(lines), {"path": str(tmp_path / "a.pdf"), "page": 3, "title": "T"})
    print_hits([hit], "parse a DATE")
    shown = capsys.readouterr().out
    assert "T (a.pdf, page 3)" in shown
    assert "\x1b[1;33mdate" in shown
    assert "\x1b[1;33mparse" in shown
    assert "\x1b[31m" not in shown
    assert "␛[31m[red]from" in shown
    assert len(shown.splitlines()) == 5


def test_wide_and_long_words_are_wrapped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_hits([ShownHit(1, 0.5, "id", "日本語の文章 " * 20 + "x" * 200, {})], "文章")
    out = capsys.readouterr().out.splitlines()
    assert 3 <= len(out) <= 5
    assert all(len(line) + sum(ord(c) > 0x2FFF for c in line) <= 40 for line in out[1:])


@pytest.mark.parametrize("dimensions", ["1920", "3840", "7680", "auto"])
def test_dimensions(zenso_here, notes, dimensions):
    found = zenso_here("search", "bread", "-m", notes, "--dimensions", dimensions, "--explain", "--json").json
    scored = found["explanation"]["dimensions"]
    assert str(scored) == dimensions or (dimensions == "auto" and scored in {1920, 3840, 7680})
    assert "flour" in found["hits"][0]["text"]
    shown = zenso_here("search", "bread", "-m", notes, "--dimensions", dimensions, "--explain").out
    assert f"{scored:,} dimensions of the codes scored" in shown


def test_other_dimensions_are_refused(zenso, notes):
    done = zenso("search", "bread", "-m", notes, "--dimensions", "384", code=1)
    assert done.is_one_error_line
    assert "choose one of 1920, 3840, 7680, or 'auto'" in done.err
