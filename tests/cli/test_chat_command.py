import os

from tests.cli.test_interaction import Terminal

QUESTION = "What is the capital of France?"
SHORT = ("--temperature", "0", "--max-tokens", "12")


def test_one_question_from_the_command_line_or_standard_input(zenso):
    assert zenso("chat", QUESTION, *SHORT).out == "The capital of France is Paris.\n"
    found = zenso("chat", "--json", "--seed", "3", "--stop", " Paris", *SHORT, stdin=QUESTION.encode()).json
    assert found["answer"] == "The capital of France is"
    assert found["finish_reason"] == "stop"
    assert found["usage"]["prompt_tokens"] == 13
    assert (found["model"], found["prompt"]) == ("gemma-3-270m", QUESTION)
    assert "sources" not in found


def test_an_answer_from_a_memory_has_its_sources_below(zenso, notes):
    given = ("chat", "What does bread need?", "-m", notes, "-k", "1", "--temperature", "0", "--max-tokens", "4")
    shown = zenso(*given).out
    answer, _, sources = shown.partition("\n\nSources:\n")
    assert answer.strip()
    assert sources.startswith("[1] ")
    assert "kitchen.md" in sources
    found = zenso(*given, "--json").json
    assert [source["number"] for source in found["sources"]] == [1]
    assert "flour" in found["sources"][0]["text"]
    assert found["sources"][0]["cited"] is ("[1]" in found["answer"])


def test_a_conversation_on_a_terminal(zenso):
    terminal = Terminal(zenso.place, "chat", *SHORT)
    terminal.wait_for("/exit or Ctrl-D leaves")
    terminal.type(f"{QUESTION}\n")
    terminal.wait_for("The capital of France is Paris.")
    terminal.wait_for("> ", 2)
    terminal.type("/new\n")
    terminal.wait_for("> ", 3)
    terminal.type("/exit\n")
    assert terminal.wait() == 0


def test_what_cannot_be_done_is_said_in_one_line(zenso, tmp_path):
    for arguments, said in [
        ((" ",), "the prompt is empty"),
        (("hi", "-m", "missing.zenso"), "no memory at missing.zenso"),
        (("hi", "--model", "missing.gguf"), "missing.gguf cannot be read"),
    ]:
        result = zenso("chat", *arguments, code=1)
        assert result.is_one_error_line
        assert said in result.err
    (zenso.place / "other.gguf").write_bytes(b"GGUF")
    assert "its SHA-256 is" in zenso("chat", "hi", "--model", "other.gguf", code=1).err
    changed = zenso("chat", "hi", "--model", "other.gguf", "--sha256", "0" * 64, code=1)
    assert "wrong SHA-256 of other.gguf" in changed.err
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('not installed')\n")
    missing = zenso(
        "chat", "hi", code=1, environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    )
    assert "pip install 'zenso[llm]'" in missing.err
