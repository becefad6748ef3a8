import pytest

import zenso
from zenso.errors import InputError
from zenso.rag import answer, cited
from zenso.rag.answer import CHARACTERS_PER_TOKEN

BREAD = "Bread needs flour, water, salt and time."
QUESTION = [{"role": "user", "content": "What does bread need?"}]


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    with zenso.open(tmp_path_factory.mktemp("rag") / "notes.zenso") as opened:
        texts = [BREAD, "Tomatoes want sun and a lot of water.", "The library opens at nine. " * 60]
        opened.add(texts, ids=["bread", "garden", "library"], metadata=[{"n": n} for n in range(3)])
        yield opened


def test_an_answer_comes_from_numbered_passages(memory, generator):
    with answer(memory, generator, QUESTION, k=2, max_tokens=6, temperature=0) as running:
        assert [(passage.number, passage.id, passage.metadata) for passage in running.passages] == [
            (1, "bread", {"n": 0}),
            (2, "garden", {"n": 1}),
        ]
        assert running.passages[0].text == BREAD
        assert "water" in running.text()
    assert running.finish_reason == "length"
    # The question alone has about 10 tokens; the passages and what is to be done with them are in the prompt too.
    assert running.usage.prompt_tokens > 60


def test_a_filter_and_the_conversation_before(memory, generator):
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}]
    running = answer(memory, generator, [*said, *QUESTION], where={"n": {"$gte": 1}}, k=1, max_tokens=1, stop="x")
    assert [passage.id for passage in running.passages] == ["garden"]
    running.close()
    assert list(running) == []
    none = answer(memory, generator, QUESTION, where={"n": 9}, max_tokens=1)
    assert none.passages == ()
    none.close()


def test_long_passages_are_cut_to_what_the_context_has_room_for(memory, generator):
    running = answer(memory, generator, QUESTION, k=3, max_tokens=1)
    shown = {passage.id: passage.text for passage in running.passages}
    assert shown["bread"] == BREAD
    assert memory["library"].text.startswith(shown["library"])
    assert sum(map(len, shown.values())) == generator.context * CHARACTERS_PER_TOKEN
    running.text()
    assert running.usage.prompt_tokens < generator.context


@pytest.mark.parametrize("messages", [[], [{"role": "assistant", "content": "Hello"}], [{"role": "user"}], ["hello"]])
def test_the_last_message_has_to_be_a_question(memory, generator, messages):
    with pytest.raises(InputError):
        answer(memory, generator, messages)


def test_numbers_in_brackets_are_citations(memory, generator):
    running = answer(memory, generator, QUESTION, k=3, max_tokens=1)
    running.close()
    found = cited("Flour [3]. Water [1, 3], [7] and [x], 2; sun [ 1 ] [2,1].", running.passages)
    assert [passage.number for passage in found] == [3, 1, 2]
    assert cited("none", running.passages) == []
