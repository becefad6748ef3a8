import hashlib
import shutil
import struct
import threading
import time

import pytest

from zenso.errors import InputError, IntegrityError, ModelError
from zenso.models import fetch, load_artifact, load_generator

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
pytestmark = pytest.mark.usefixtures("real_cache")


def test_text_comes_in_pieces_with_a_reason_and_usage(generator):
    generation = generator.chat(QUESTION, max_tokens=40, temperature=0)
    first = next(generation)
    assert generation.finish_reason is None
    assert generation.usage is None
    pieces = [first, *generation]
    assert "".join(pieces) == "The capital of France is Paris."
    assert len(pieces) > 3
    assert generation.finish_reason == "stop"
    assert generation.usage.prompt_tokens == 13  # "User: What is the capital of France?\n\nAssistant:"
    assert 7 <= generation.usage.completion_tokens < 40
    assert generation.usage.total_tokens == 13 + generation.usage.completion_tokens
    assert list(generation) == []


def test_an_answer_ends_at_max_tokens_or_before_a_stop_string(generator):
    short = generator.chat(QUESTION, max_tokens=3, temperature=0)
    assert short.text() == "The capital of"
    assert (short.finish_reason, short.usage.completion_tokens) == ("length", 3)
    stopped = generator.chat(QUESTION, max_tokens=40, temperature=0, stop=[" Paris", "never"])
    assert stopped.text() == "The capital of France is"
    assert stopped.finish_reason == "stop"
    assert generator.chat(QUESTION, max_tokens=40, temperature=0, stop=" of").text() == "The capital"


def test_the_same_seed_gives_the_same_text(generator):
    def write(seed):
        story = [{"role": "system", "content": "You tell stories."}, {"role": "user", "content": "Tell one."}]
        return generator.chat(story, max_tokens=5, temperature=1.5, seed=seed).text()

    assert write(1) == write(1)
    assert len({write(seed) for seed in (1, 2, 3)}) > 1


def test_closing_stops_the_generation_also_in_the_middle_of_the_prompt(generator):
    long = [{"role": "user", "content": "word " * 400}]
    for messages in (QUESTION, long):
        with generator.chat(messages, max_tokens=400, temperature=1, stop="never") as generation:
            if messages is QUESTION:
                next(generation)
        assert list(generation) == []
        assert generation.finish_reason is None
    generator.chat(long, max_tokens=400)  # thrown away
    deadline = time.monotonic() + 60
    while any(thread.name == "zenso-chat" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a closed generation goes on"
        time.sleep(0.05)
    assert generator.chat(QUESTION, max_tokens=2, temperature=0).text() == "The capital"


@pytest.fixture(scope="module")
def with_template(generator, tmp_path_factory):
    """The same model with a chat template in its file: the last message alone, and the first not the assistant's."""
    refusal = "{% if messages[0].role == 'assistant' %}{{ raise_exception('begin with the user') }}{% endif %}"
    template = refusal + "{{ messages[-1].content }}"
    key = b"tokenizer.chat_template"
    # A whole number of 32 bytes is put in, because tensors are aligned to that.
    template += "{#" + " " * (-(len(key) + len(template) + 4 + 20) % 32) + "#}"
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(template)) + template.encode()
    assert len(entry) % 32 == 0
    whole = generator.path.read_bytes()
    magic, version, tensors, entries = struct.unpack_from("<4sIQQ", whole)
    path = tmp_path_factory.mktemp("template") / "with-template.gguf"
    with path.open("wb") as file:
        file.write(struct.pack("<4sIQQ", magic, version, tensors, entries + 1) + entry)
        file.write(memoryview(whole)[24:])
    with load_generator(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), threads=2, context=128) as loaded:
        yield loaded


def test_the_chat_template_is_the_files_own(with_template):
    assert with_template.has_template
    generation = with_template.chat(
        [{"role": "user", "content": "The capital of France is"}], max_tokens=2, temperature=0
    )
    assert generation.text() == " the capital", "a plain continuation, with its blank"
    assert generation.usage.prompt_tokens == 6
    with pytest.raises(InputError, match=r"chat template of this model refuses the messages.*begin with"):
        with_template.chat([{"role": "assistant", "content": "Hello."}, *QUESTION]).text()


def test_several_threads_at_once(generator):
    texts = []

    def ask():
        texts.append(generator.chat(QUESTION, max_tokens=5, temperature=0).text())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["The capital of France is"] * 4


def test_a_conversation_longer_than_the_context_is_refused(generator):
    with pytest.raises(InputError, match=r"tokens\) exceeds the available context size \(512 tokens\)"):
        generator.chat([{"role": "user", "content": "word " * 600}]).text()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_tokens", [0, -1, 1.5, True, "5", None]),
        ("temperature", [-0.1, 2.1, float("nan"), "hot", None]),
        ("top_p", [0, 1.1, float("nan"), None]),
        ("seed", [-1, 2**32 - 1, 1.0, "x"]),
        ("stop", ["", [""], [1]]),
        ("messages", [[], "hello", [{"role": "user"}], [{"role": "tool", "content": "x"}], ["x"], [{"content": "x"}]]),
    ],
)
def test_values_out_of_range_are_refused_at_once(generator, name, values):
    for value in values:
        given = {"messages": QUESTION, name: value}
        with pytest.raises(InputError, match=name.removesuffix("s")):
            generator.chat(given.pop("messages"), **given)


def test_what_cannot_be_encoded_is_replaced(generator):
    assert generator.chat([{"role": "user", "content": "\ud800 \0"}], max_tokens=1).text() is not None


def test_a_changed_byte_is_refused_before_loading(generator, tmp_path):
    changed = tmp_path / "gemma.gguf"
    shutil.copy(generator.path, changed)
    with changed.open("r+b") as file:
        file.seek(200_000_000)
        byte = file.read(1)
        file.seek(200_000_000)
        file.write(bytes([byte[0] ^ 1]))
    expected = hashlib.sha256(generator.path.read_bytes()).hexdigest()
    with pytest.raises(IntegrityError, match=f"wrong SHA-256 of .*expected {expected}, found .*; not loaded"):
        load_generator(changed, sha256=expected)


def test_a_closed_generator_says_so(generator):
    with load_generator(generator.path, sha256=hashlib.sha256(generator.path.read_bytes()).hexdigest()) as other:
        assert (other.name, other.context) == ("gemma-3-270m-q4_k_m", 4096)
        running = other.chat(QUESTION, max_tokens=400, temperature=1, stop="never")
    with pytest.raises(ModelError, match="broke off, because its generator was closed"):
        running.text()
    with pytest.raises(InputError, match="is closed"):
        other.chat(QUESTION)


@pytest.mark.parametrize("given", [{"threads": 0}, {"context": 10}, {"parallel": 0}, {"context": 2**30}])
def test_settings_out_of_range(given):
    with pytest.raises(InputError, match=next(iter(given))):
        load_generator("gemma-3-270m", **given)


def test_a_model_that_writes_does_not_embed():
    with pytest.raises(ModelError, match="gemma-3-270m writes text"):
        load_artifact("gemma-3-270m")
    assert (fetch("gemma-3-270m") / "gemma-3-270m-q4_k_m.gguf").stat().st_size == 253_113_024
