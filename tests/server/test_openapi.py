"""The description of the API holds, whatever is sent: schemathesis asks in thousands of ways."""

import importlib.util
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import zenso
from tests.cli.process import child_environment

SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# Of each operation; more of them, by ZENSO_SCHEMATHESIS_EXAMPLES, are others each time.
EXAMPLES = 165
LEAST_REQUESTS = 5000


@pytest.fixture(scope="module")
def own_server(start_server, tmp_path_factory, texts):
    """A server whose documents may all be deleted, with a node where there can be one."""
    place = tmp_path_factory.mktemp("described")
    with zenso.open(place / "notes.zenso") as memory:
        memory.add(list(texts.values()), ids=list(texts))
    if not importlib.util.find_spec("libp2p"):
        return start_server(place, place / "notes.zenso")
    from tests.network.nodes import ENVIRONMENT  # noqa: PLC0415 - an extra
    from zenso.network.folder import create_folder  # noqa: PLC0415

    create_folder(place / "n", {"listen": ["/ip4/127.0.0.1/tcp/0"]})
    return start_server(place, place / "notes.zenso", "--node", place / "n", environment=ENVIRONMENT)


def requests_so_far(server):
    with server.client() as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    samples = [sample for family in families for sample in family.samples if sample.name == "zenso_requests_total"]
    assert not [sample.labels for sample in samples if sample.labels["status"].startswith("5")]
    return sum(sample.value for sample in samples)


@pytest.mark.timeout(1200)
def test_answers_are_as_described(own_server, tmp_path):
    wanted = os.environ.get("ZENSO_SCHEMATHESIS_EXAMPLES")
    before = requests_so_far(own_server)
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", CONFIGURATION, "--no-color", "run", f"{own_server.url}/openapi.json"),
            *(
                "--phases",
                "examples,coverage,fuzzing",
                "--max-examples",
                wanted or str(EXAMPLES),
                "--no-shrink",
                "--workers",
                "2",
            ),
            *("--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"),
            *(() if wanted else ("--seed", "1")),
        ],
        cwd=tmp_path,
        env=child_environment({"PYTHONWARNINGS": "default"}),
        capture_output=True,
        text=True,
        check=False,
    )
    sent = requests_so_far(own_server) - before
    print(f"{sent:.0f} requests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sent >= LEAST_REQUESTS or wanted


def test_every_route_is_described(client):
    described = client.get("/openapi.json").json()
    assert {"/v1/documents", "/v1/search", "/v1/memories", "/v1/verify", "/rpc"} < set(described["paths"])
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path} says nothing"
            assert "200" in operation["responses"]
    assert not re.findall(r'"\$ref": "(?!#/components)', str(described))
