"""A server with a node: routes, tools for agents and the page, beside another node."""

import asyncio
import functools

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

pytest.importorskip("multiaddr", reason="needs zenso[network]")

from tests.network.nodes import ENVIRONMENT, NodeProcess, eventually
from zenso.network.control import ask
from zenso.network.folder import create_folder

LESSON = "Retry a request that timed out with exponential backoff and jitter."
OTHER = "Never hold a lock while calling user code."


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("n") / "n"
    create_folder(folder, {"listen": ["/ip4/127.0.0.1/tcp/0"], "domains": ["coding", "general"]})
    return folder


@pytest.fixture(scope="module")
def node_server(start_server, node_folder):
    place = node_folder.parent
    return start_server(place, place / "notes.zenso", "--node", node_folder, environment=ENVIRONMENT)


@pytest.fixture
def client(node_server):
    with node_server.client() as client:
        yield client


def test_experiences_are_shared_with_other_nodes(client, node_folder, tmp_path):
    (address,) = client.get("/v1/network/status").json()["addresses"]
    other = NodeProcess(tmp_path / "o", [address])
    try:
        sent = client.post("/v1/experiences", json={"text": LESSON, "domain": "general", "confidence": 0.9}).json()
        eventually(lambda: other.status()["domains"]["general"]["records"] == 1)
        theirs = other.ask("submit", text=OTHER)["id"]
        eventually(lambda: client.get("/v1/network/status").json()["domains"]["general"]["experiences"] == 2)
        voted = client.post(f"/v1/experiences/{theirs}/vote", json={"helped": True})
        assert voted.json()["domain"] == "general"
        disputed = client.post(f"/v1/experiences/{theirs}/dispute")
        assert "nothing to dispute" in disputed.json()["error"]["message"]
        eventually(lambda: other.digest() == ask(node_folder, "status")["domains"]["general"]["digest"])
    finally:
        other.kill()

    listed = client.get("/v1/experiences", params={"domain": "general"}).json()
    assert [one["id"] for one in listed["experiences"]] == [theirs, sent["id"]]
    query = {"query": "what to do when a request times out", "k": 1}
    search = functools.partial(client.post, "/v1/experiences/search", json=query)
    eventually(lambda: [one["text"] for one in search().json()["experiences"]] == [LESSON])

    again = client.post("/v1/experiences", json={"text": LESSON, "domain": "general"})
    assert (again.status_code, "duplicate" in again.json()["error"]["message"]) == (400, True)
    assert client.post("/v1/experiences", json={"text": "x", "domain": "law"}).status_code == 400
    assert client.post("/v1/experiences/nonsense/dispute").status_code == 400
    assert client.delete(f"/v1/experiences/{sent['id']}").status_code == 200

    assert client.put("/v1/experiences").headers["allow"] == "GET, POST"
    page = client.get("/network", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert other.address.rpartition("/")[2] in page.text
    assert "duplicate" not in page.text  # own mistakes are told to who makes them


def test_agents_have_tools(node_server):
    async def use():
        async with (
            httpx2.AsyncClient(timeout=60) as http,
            Client(streamable_http_client(f"{node_server.url}/mcp", http_client=http)) as client,
        ):
            sent = await client.call_tool("submit_experience", {"text": OTHER, "domain": "coding"})
            for _ in range(50):
                found = await client.call_tool("find_experiences", {"query": "locks and callbacks", "domain": "coding"})
                if found.structured_content["lessons"]:
                    break
                await asyncio.sleep(0.1)
            return sent.structured_content, found.structured_content

    sent, found = asyncio.run(use())
    assert found["lessons"][0]["id"] == sent["id"]


def test_without_a_node_there_is_nothing_of_it(server):
    with server.client() as client:
        assert client.get("/v1/network/status").status_code == 404
        assert ">Network<" not in client.get("/", headers={"Accept": "text/html"}).text
