import sqlite3
from contextlib import closing

import pytest

from tests.memory.version_1 import make_memory
from zenso.memory import Memory
from zenso.memory.check import check_memory
from zenso.memory.words import MAX_WORDS, query_words, telling_words


def test_words_of_a_query():
    assert query_words('What\'s new? NEW, naïve "x" AND (y) *') == ["what", "s", "new", "naïve", "x", "and", "y"]
    assert query_words("?! \x00 🦊") == []
    assert len(query_words(" ".join(f"word{n}" for n in range(500)))) == MAX_WORDS


def test_telling_words():
    assert telling_words(["the", "mast", "cell"], [90, 3, 25], 100) == ["mast", "cell"]
    assert telling_words(["the", "and"], [90, 80], 100) == ["and"]
    assert telling_words([], [], 100) == []


@pytest.fixture
def shelf(memory):
    texts = [f"Report {n}: the pump in hall {n} was serviced and works well." for n in range(12)]
    texts[4] = "Form XK-4471B must be signed. The rest of this page says nothing of interest at all, as ever."
    memory.add(texts, ids=[str(n) for n in range(12)], metadata=[{"even": n % 2 == 0} for n in range(12)])
    return memory


def test_a_rare_word_is_found(shelf):
    hit = shelf.search("xk 4471b")[0]
    assert hit.id == "4"
    assert hit.score == 1.0


def test_endings_and_accents_do_not_matter(memory):
    memory.add(["Engines were serviced in Zürich.", "The choir sang.", "Rain fell.", "A cake was baked."])
    with memory._database.read() as connection:
        found = [
            connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (word,)).fetchall()
            for word in ("engine", "servicing", "zurich", "sang")
        ]
    assert found == [[(1,)], [(1,)], [(1,)], [(2,)]]


@pytest.mark.parametrize(
    "query", ['"', "AND OR NOT", "a* b^2 {c}:(d)", "x" * 9000, "NEAR(", "-", "\x00 hall", "hall'; --"]
)
def test_no_query_is_an_error(shelf, query):
    assert len(shelf.search(query, k=3)) == 3


def test_every_document_is_ranked_even_without_any_word(shelf):
    assert {hit.id for hit in shelf.search("zebra", k=50)} == {str(n) for n in range(12)}
    scores = [hit.score for hit in shelf.search("pump in hall 7", k=50)]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < scores[0] <= 1


def test_similarity_alone(shelf):
    hits = shelf.search("the pump in hall 7", k=12, hybrid=False)
    assert [hit.score for hit in hits] == [hit.similarity for hit in hits]
    assert {(h.id, h.similarity) for h in shelf.search("the pump in hall 7", k=12)} == {
        (h.id, h.similarity) for h in hits
    }


def test_filters_hold_for_both_rankings(shelf):
    assert "4" not in {hit.id for hit in shelf.search("XK-4471B", k=50, where={"even": False})}
    assert len(shelf.search("XK-4471B", k=50, where={"even": False})) == 6
    assert shelf.search("XK-4471B", where={"even": True})[0].id == "4"


def test_a_document_far_down_by_similarity_is_found_by_its_word(memory, monkeypatch):
    monkeypatch.setattr("zenso.memory.search.FUSED", 2)
    memory.add([f"a story about sailing, part {n}" for n in range(8)], ids=[str(n) for n in range(8)])
    memory.add("invoice zq9 for paper", ids="odd one")
    hits = memory.search("sailing story zq9", k=4)
    assert "odd one" in [hit.id for hit in hits]
    alone = memory.search("sailing story zq9", k=9, hybrid=False)
    assert {h.id: h.similarity for h in alone}["odd one"] == {h.id: h.similarity for h in hits}["odd one"]


def test_words_and_frequencies_follow_every_change(shelf, folder, encoder):
    shelf.add("Form XK-4471B is void.", ids="4")
    shelf.add("a new page", ids="n")
    shelf.delete(["5", "6", "nothing"])
    shelf.replace_source("f.txt", "1", ["one pump", "two pumps", "one pump"])
    shelf.replace_source("f.txt", "2", ["two pumps", "three"])
    shelf.add("kept", ids="k")
    shelf.remove_source("f.txt")
    shelf.close()
    with (
        Memory.open(folder.with_name("again"), encoder=encoder) as again,
        Memory.open(folder, encoder=encoder) as opened,
    ):
        again.add([d.text for d in opened], ids=[d.id for d in opened], metadata=[d.metadata for d in opened])
        assert opened.search("form pump page", k=20) == again.search("form pump page", k=20)
    connection, fresh = (sqlite3.connect(path / "memory.sqlite3") for path in (folder, again.path))
    count = "SELECT token, documents FROM frequencies WHERE documents ORDER BY token"
    assert connection.execute(count).fetchall() == fresh.execute(count).fetchall()
    total = "SELECT embeddings, (SELECT count(*) FROM documents) FROM state"
    assert connection.execute(total).fetchone() == (12, 12)
    connection.close()
    fresh.close()
    assert check_memory(folder).ok


def test_a_memory_of_the_first_version_gets_its_words(folder, encoder):
    make_memory(folder, encoder, [("1", "a pump", {}, None), ("2", "a lamp", {}, None)])
    with Memory.open(folder, encoder=encoder) as memory:
        assert memory.search("lamps")[0].id == "2"
        assert memory.search("lamps")[0].score == 1.0
        memory.delete("2")
        assert memory.search("lamps")[0].score < 0.6
    assert check_memory(folder).ok


def test_frequencies_follow_a_change_of_model_and_a_repair(shelf, folder, encoder, other_encoder):
    def frequencies():
        with closing(sqlite3.connect(folder / "memory.sqlite3", isolation_level=None)) as connection:
            return connection.execute("SELECT * FROM frequencies WHERE documents ORDER BY token").fetchall()

    before = frequencies()
    shelf.close()
    with Memory.open(folder, encoder=other_encoder) as memory:
        memory.reembed()
    assert frequencies() == before
    with closing(sqlite3.connect(folder / "memory.sqlite3", isolation_level=None)) as connection:
        connection.execute("UPDATE frequencies SET documents = documents + 1 WHERE token % 2")
        connection.execute("UPDATE embeddings SET token_set = '[1,' WHERE seq = 3")
    (finding,) = check_memory(folder).findings
    assert finding.fault == "wrong frequencies"
    assert check_memory(folder, repair=True).ok
    with Memory.open(folder, encoder=other_encoder) as memory:
        memory.delete("2")
        assert memory.search("pump")
    assert check_memory(folder).ok


def test_a_wrong_index_of_words_is_found_and_rebuilt(shelf, folder, encoder):
    shelf.close()
    with closing(sqlite3.connect(folder / "memory.sqlite3", isolation_level=None)) as connection:
        connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
    (finding,) = check_memory(folder).findings
    assert finding.fault == "wrong full-text index"
    assert check_memory(folder, repair=True).ok
    with Memory.open(folder, encoder=encoder) as memory:
        assert memory.search("xk 4471b")[0].score == 1.0
