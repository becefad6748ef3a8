import hashlib
import shutil
import time

import pytest
from openai import BadRequestError, OpenAI

import zenso
from zenso import models
from zenso.errors import ModelError

STORY = [{"role": "user", "content": "Tell me a long story about a whale."}]


@pytest.fixture(scope="module")
def file():
    try:
        return models.fetch(models.lookup(models.DEFAULT_GENERATOR)) / "gemma-3-270m-q4_k_m.gguf"
    except ModelError as error:
        pytest.skip(f"the language model cannot be fetched here: {error}")


@pytest.fixture(scope="module")
def chatty(file, start_server, texts, tmp_path_factory):
    place = tmp_path_factory.mktemp("chat")
    with zenso.open(place / "notes.zenso") as memory:
        memory.add(list(texts.values()), ids=list(texts))
    return start_server(place, "notes.zenso", "--chat", models.DEFAULT_GENERATOR)


@pytest.fixture(scope="module")
def openai(chatty):
    return OpenAI(base_url=f"{chatty.url}/v1", api_key="none", max_retries=0)


def test_a_stream_is_what_the_library_writes(openai):
    asked = {"model": "x", "messages": STORY, "max_tokens": 24, "temperature": 0, "seed": 1}
    chunks = list(openai.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 5
    whole = openai.chat.completions.create(**asked)
    assert whole.choices[0].message.content == text
    assert whole.usage == chunks[-1].usage
    with models.load_generator() as generator:
        generation = generator.chat(STORY, max_tokens=24, temperature=0, seed=1)
        assert text == generation.text()
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == generation.finish_reason
    assert whole.usage.completion_tokens == generation.usage.completion_tokens


def test_json_rpc_answers_the_same(chatty, openai):
    asked = {"messages": STORY, "max_tokens": 8, "temperature": 0, "seed": 1}
    whole = openai.chat.completions.create(model="x", **asked)
    call = {"jsonrpc": "2.0", "id": 1, "method": "citrate_chatCompletion", "params": asked}
    with chatty.client() as client:
        choices = client.post("/rpc", json=call).json()["result"]["choices"]
    assert choices[0]["message"]["content"] == whole.choices[0].message.content


def test_stop_strings_end_it(openai):
    whole = openai.chat.completions.create(model="x", messages=STORY, max_tokens=40, temperature=0, stop=["the", "."])
    assert "the" not in whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"


def test_answers_from_a_memory_name_their_passages(openai):
    question = [{"role": "user", "content": "What does bread need?"}]
    memory = {"memory": {"name": "notes", "k": 2}}
    whole = openai.chat.completions.create(
        model="x", messages=question, max_tokens=16, temperature=0, extra_body=memory
    )
    citations = whole.model_extra["citations"]
    assert [citation["number"] for citation in citations] == [1, 2]
    assert citations[0]["id"] == "bread"
    with pytest.raises(BadRequestError, match=r"no memory|where"):
        openai.chat.completions.create(model="x", messages=question, extra_body={"memory": {"where": {"$x": 1}}})


def test_whoever_leaves_stops_the_model(chatty):
    body = {"messages": STORY, "max_tokens": 2000, "temperature": 1, "stream": True}
    with chatty.client() as client:
        for _ in range(3):
            with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                next(answer.iter_lines())
        began = time.monotonic()
        done = client.post("/v1/chat/completions", json={"messages": STORY, "max_tokens": 1})
    assert done.json()["usage"]["completion_tokens"] == 1
    assert time.monotonic() - began < 20  # three answers of 2,000 tokens would take over a minute


@pytest.mark.parametrize("change", [{"messages": []}, {"temperature": 3}, {"n": 2}, {"stop": [""]}, {"max_tokens": 0}])
def test_values_that_cannot_be(chatty, change):
    with chatty.client() as client:
        answer = client.post("/v1/chat/completions", json={"messages": STORY, "max_tokens": 1, **change})
    assert answer.status_code == 422
    assert next(iter(change)) in answer.json()["error"]["message"]


def test_a_server_without_a_language_model_says_so(client):
    answer = client.post("/v1/chat/completions", json={"messages": STORY})
    assert answer.status_code == 404
    assert "--chat" in answer.json()["error"]["message"]


def test_a_changed_byte_is_refused_before_loading(file, start_server, tmp_path):
    changed = tmp_path / "model.gguf"
    shutil.copy(file, changed)
    with changed.open("r+b") as opened:
        opened.seek(100_000_000)
        byte = opened.read(1)
        opened.seek(100_000_000)
        opened.write(bytes([byte[0] ^ 1]))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "zenso.toml").write_text(f'[generation]\nmodel = "{changed}"\nsha256 = "{digest}"\n')
    with pytest.raises(AssertionError, match=f"the server ended: error: .*{digest}"):
        start_server(tmp_path, "m.zenso")
