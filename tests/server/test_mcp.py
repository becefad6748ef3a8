import asyncio
import contextlib

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

import zenso
from tests.cli.process import SCRIPT, child_environment
from zenso.server import KeyFile, Scope


@pytest.fixture
def memory(tmp_path, texts):
    with zenso.open(tmp_path / "notes.zenso") as memory:
        memory.add(list(texts.values()), ids=list(texts), metadata=[{"first": text[0]} for text in texts.values()])
        yield memory


async def everything(client):
    """What an agent does with a memory, and what it is told."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"search", "get_document", "list_memories", "add_documents", "delete_documents"}
    assert all(len(tool.description) > 40 for tool in tools.values())
    assert all("description" in field for tool in tools.values() for field in tool.input_schema["properties"].values())
    assert tools["search"].annotations.read_only_hint
    assert tools["delete_documents"].annotations.destructive_hint

    async def call(name, **arguments):
        result = await client.call_tool(name, arguments)
        return result.content[0].text if result.is_error else result.structured_content

    assert await call("list_memories") == {"memories": [{"name": "notes", "documents": 5, "is_default": True}]}
    found = await call("search", query="What does bread need?", k=2)
    again = await call("search", query="What does bread need?", k=2, rerank=True)
    filtered = await call("search", query="What does bread need?", where={"first": "P"})
    added = await call("add_documents", texts=["Rye bread needs sourdough."], ids=["rye"], metadata=[{"first": "R"}])
    assert added == {"ids": ["rye"]}
    assert (await call("get_document", id="rye"))["metadata"] == {"first": "R"}
    assert await call("delete_documents", ids=["rye", "none"]) == {"deleted": 1}
    assert "no document 'rye'" in await call("get_document", id="rye")
    assert "$x" in await call("search", query="bread", where={"first": {"$x": 1}})
    assert "no memory 'other'" in await call("search", query="bread", memory="other")
    return found, again, filtered


def check(memory, answers):
    found, again, filtered = ([result["id"] for result in answer["results"]] for answer in answers)
    hits = memory.search("What does bread need?", 2)
    assert found == [hit.id for hit in hits]
    assert [result["score"] for result in answers[0]["results"]] == [hit.score for hit in hits]
    assert again[0] == "bread"
    assert filtered == ["paris"]


def test_over_standard_input_and_output(memory):
    started = StdioServerParameters(
        command=str(SCRIPT), args=["mcp", str(memory.path)], env={**child_environment(), "PYTHONWARNINGS": "default"}
    )

    async def use():
        async with Client(started) as client:
            return await everything(client)

    check(memory, asyncio.run(use()))


def test_over_http_with_keys(memory, start_server, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    reader, writer = (keys.create(scope.value, scope)[1] for scope in (Scope.READ, Scope.WRITE))
    server = start_server(tmp_path, memory.path, "--keys", keys.path)

    @contextlib.asynccontextmanager
    async def connected(key):
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(f"{server.url}/mcp", http_client=http)) as client,
        ):
            yield client

    async def use():
        async with connected(reader) as client:
            refused = await client.call_tool("add_documents", {"texts": ["x y z"]})
            assert refused.is_error
            assert "needs a key of scope write" in refused.content[0].text
        async with connected(writer) as client:
            return await everything(client)

    check(memory, asyncio.run(use()))
    server.kill()
