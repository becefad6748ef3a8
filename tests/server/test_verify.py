import sqlite3
from contextlib import closing

import numpy as np
import pytest
from blake3 import blake3

import zenso
from zenso.canonical import Role, open_artifact
from zenso.zen import load_encoder


def test_a_text_gives_the_bits_of_the_library(client, texts):
    answer = client.post("/v1/verify", json={"text": texts["bread"]}).json()
    encoder = load_encoder()
    expected = encoder.encode_documents([texts["bread"]])
    computed = answer["computed"]
    assert computed["vector"] == expected.vectors[0].tolist()
    assert computed["content_hash"] == blake3(np.array(computed["vector"], "<i2").tobytes()).hexdigest()
    assert computed["code_hash"] == blake3(expected.codes[0].tobytes()).hexdigest()
    assert answer["digests"]["artifact"] == encoder.canonical.artifact.digest.hex()
    assert (answer["ok"], answer["stored"]) == (None, None)


def test_a_stored_document_is_what_its_text_gives(client, texts):
    answer = client.post("/v1/verify", json={"id": "bread"}).json()
    assert (answer["ok"], answer["mismatches"]) == (True, [])
    computed = client.post("/v1/verify", json={"text": texts["bread"]}).json()["computed"]
    assert answer["computed"] == computed
    assert answer["stored"] == {name: computed[name] for name in ("content_hash", "code_hash")}


def test_a_changed_number_is_found(start_server, tmp_path, texts):
    place = tmp_path / "m.zenso"
    with zenso.open(place) as memory:
        memory.add(list(texts.values()), ids=list(texts))
    with closing(sqlite3.connect(place / "memory.sqlite3")) as database, database:
        seq, vector = database.execute(
            "SELECT seq, vector FROM embeddings JOIN documents USING (seq) WHERE id = 'bread'"
        ).fetchone()
        changed = bytes([vector[0] ^ 1]) + vector[1:]
        database.execute("UPDATE embeddings SET vector = ? WHERE seq = ?", (changed, seq))
    with start_server(tmp_path, place).client() as client:
        answer = client.post("/v1/verify", json={"id": "bread"}).json()
        assert answer["ok"] is False
        assert answer["mismatches"] == [{"cause": "corrupted vector", "detail": "its hash is another"}]
        assert answer["stored"]["content_hash"] != answer["computed"]["content_hash"]
        assert client.post("/v1/verify", json={"id": "whale"}).json()["ok"] is True


def test_the_files_are_those_that_the_model_names(client, tmp_path):
    model = client.get("/v1/verify/model").json()
    for name in ("kernel", "artifact"):
        described = model[name]
        whole = client.get(described["url"])
        assert len(whole.content) == described["bytes"]
        assert blake3(whole.content).hexdigest() == described["blake3"] == model["digests"][name]
        assert whole.headers["etag"] == f'"{described["blake3"]}"'
        again = client.get(described["url"], headers={"If-None-Match": whole.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        part = client.get(described["url"], headers={"Range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, whole.content[4:8])
        assert client.get(described["url"], headers={"Range": "bytes=999999999-"}).status_code == 416
    (tmp_path / "artifact").write_bytes(whole.content)
    assert open_artifact(tmp_path / "artifact").config["model_id"] == model["digests"]["model_id"]


def test_tokens_are_those_of_the_kernel(client):
    answer = client.post("/v1/verify/tokens", json={"text": "Hello kernels", "role": "query"}).json()
    ((ids,),) = load_encoder().canonical.tokenize(["Hello kernels"], Role.QUERY)
    assert answer["ids"] == ids.tolist()
    assert answer["tokens"] == ["[CLS]", "hello", "kernel", "##s", "[SEP]"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "give either `id` or `text`"),
        ({"id": "a", "text": "b"}, 400, "give either `id` or `text`"),
        ({"id": "none"}, 404, "there is no document 'none'"),
        ({"text": " "}, 400, "only white space"),
        ({"text": "a", "memory": "none"}, 404, "there is no memory 'none'"),
    ],
)
def test_what_cannot_be_verified_is_named(client, body, status, said):
    answer = client.post("/v1/verify", json=body)
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True)
