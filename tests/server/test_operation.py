"""A server among other programs: its log, metrics, traces, certificates and end."""

import datetime as dt
import gzip
import http.server
import ipaddress
import json
import signal
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from zenso.server import create_app, load_settings
from zenso.server.observe import configure_logging
from zenso.server.settings import Logging

SECRET = "xylophone"


class Collector:
    """An OTLP collector over HTTP."""

    def __init__(self):
        self.spans = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.bodies += body
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.bodies = b""
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.fixture(scope="module")
def observed(start_server, tmp_path_factory, collector):
    place = tmp_path_factory.mktemp("observed")
    (place / "zenso.toml").write_text(
        "keys = 'none.json'\n[memories]\nmain = 'main.zenso'\n[logging]\nformat = 'json'\nlevel = 'debug'\n"
        f"[tracing]\nendpoint = '{collector.url}'\n"
    )
    return start_server(place)


def events(server):
    return [json.loads(line) for line in list(server.log) if line.startswith("{")]


def test_a_request_leaves_a_line_and_no_text(observed):
    with observed.client() as client:
        answers = [
            client.post("/v1/embeddings", json={"input": f"play the {SECRET}", "dimensions": 1920}),
            client.post("/v1/embeddings", json={"input": SECRET, "dimensions": SECRET}),
            client.post("/v1/embeddings", content=f"{{{SECRET}"),
            client.post(f"/v1/embeddings?{SECRET}={SECRET}", json={"input": [SECRET, " "]}),
            client.get(f"/v1/models/{SECRET}", headers={"User-Agent": SECRET, "Referer": f"http://{SECRET}"}),
            client.get(f"/{SECRET}", headers={"X-API-Key": SECRET, "Cookie": f"a={SECRET}"}),
            client.get("/health", headers={"Host": f"{SECRET}.example"}),
            client.request("GET", "/health", headers={"Connection": "upgrade", "Upgrade": "websocket"}),
        ]
    assert [answer.status_code for answer in answers] == [200, 422, 422, 400, 404, 404, 421, 200]
    wait_for(
        lambda: [event for event in events(observed) if event.get("request") == answers[-1].headers["x-request-id"]]
    )
    by_id = {event["request"]: event for event in events(observed) if event["event"] == "request"}
    for answer in answers:
        event = by_id[answer.headers["x-request-id"]]
        assert event["status"] == answer.status_code
        assert event["bytes"] == len(answer.content)
        assert event["caller"] in ("127.0.0.1", None)
        assert event["milliseconds"] > 0
    assert by_id[answers[0].headers["x-request-id"]]["route"] == "/v1/embeddings"
    assert SECRET not in "".join(observed.log)


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_metrics_are_prometheus_and_count_what_happened(observed):
    with observed.client() as client:
        client.post("/v1/embeddings", json={"input": ["one", "two words"]})
        client.get("/nope")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    kinds = {name: family.type for name, family in families.items() if name.startswith("zenso_")}
    assert kinds == {
        "zenso_requests": "counter",
        "zenso_request_duration_seconds": "histogram",
        "zenso_requests_in_progress": "gauge",
        "zenso_refusals": "counter",
        "zenso_server_info": "gauge",
        "zenso_model_queued_tokens": "gauge",
        "zenso_model_queued_calls": "gauge",
        "zenso_model_tokens": "counter",
        "zenso_model_busy_seconds": "counter",
        "zenso_model_batch_tokens": "histogram",
        "zenso_memory_documents": "gauge",
        "zenso_thread_calls": "gauge",
    }
    assert all(family.documentation for family in families.values())
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["zenso_requests_total", "POST", "/v1/embeddings", "200"] >= 1
    assert values["zenso_requests_total", "GET", "other", "404"] >= 1
    assert values["zenso_refusals_total", "not_found"] >= 1
    assert values["zenso_requests_in_progress",] == 1  # this one
    assert values["zenso_model_tokens_total", "all-MiniLM-L6-v2"] >= 7
    assert values["zenso_model_batch_tokens_sum", "all-MiniLM-L6-v2"] >= 7
    assert values["zenso_model_batch_tokens_count", "all-MiniLM-L6-v2"] >= 1
    assert values["zenso_model_queued_tokens", "all-MiniLM-L6-v2"] == 0
    assert values["zenso_memory_documents", "main"] == 0
    assert values["process_open_fds",] > 0


def test_a_trace_shows_a_request_and_its_batches(observed, collector):
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    body = {"input": [f"{SECRET} lessons", "b"], "dimensions": 1920}
    headers = {"traceparent": f"00-{trace}-{parent}-01"}
    with observed.client() as client:
        client.post(f"/v1/embeddings?q={SECRET}", json=body, headers=headers)
    wait_for(lambda: any(span.trace_id.hex() == trace and span.kind == 2 for span in collector.spans))
    mine = {span.name: span for span in collector.spans if span.trace_id.hex() == trace}
    request = mine["POST /v1/embeddings"]
    assert request.parent_span_id.hex() == parent
    attributes = {pair.key: pair.value for pair in request.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["http.route"].string_value == "/v1/embeddings"
    assert mine["encode"].parent_span_id == request.span_id
    assert mine["ZenEncoder.dense_of"].parent_span_id == request.span_id
    batches = [span for span in collector.spans if span.name == "model batch"]
    assert any(link.span_id == mine["encode"].span_id for batch in batches for link in batch.links)
    assert SECRET.encode() not in collector.bodies


async def test_a_bug_is_told_in_the_callers_dialect_and_located_in_the_log(tmp_path, capsys):
    app = create_app(load_settings(keys=tmp_path / "keys.json"))

    @app.post("/v1/embeddings/broken")
    async def broken():
        raise KeyError(SECRET)

    @app.get("/v1/broken")
    async def also_broken():
        raise ValueError(SECRET)

    configure_logging(Logging())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        openai, own = await client.post("/v1/embeddings/broken"), await client.get("/v1/broken")
    app.state.services.close()
    assert openai.status_code == own.status_code == 500
    assert openai.json()["error"]["type"] == "server_error"
    assert own.json()["error"]["code"] == "bug"
    assert own.headers["x-request-id"] in own.json()["error"]["message"]
    log = capsys.readouterr().err
    assert own.headers["x-request-id"] in log
    assert "in also_broken" in log
    assert "ValueError" in log
    for told in (log, openai.text, own.text):
        assert f"'{SECRET}'" not in told
    assert SECRET not in openai.text + own.text
    assert "Traceback" not in openai.text + own.text


def slow_request(server, texts=10):
    """Return an answer that takes a while."""
    return httpx.post(f"{server.url}/v1/embeddings", json={"input": ["word " * 200] * texts}, timeout=120)


def in_progress(server):
    return "zenso_requests_in_progress 1.0" not in httpx.get(f"{server.url}/metrics").text


def test_requests_that_run_are_finished_when_it_is_told_to_end(start_server, tmp_path):
    server = start_server(tmp_path, "--threads", 1, "--keys", tmp_path / "none")
    slow_request(server, 1)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(slow_request, server) for _ in range(4)]
        wait_for(lambda: in_progress(server))
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
        assert [answer.result().status_code for answer in running] == [200] * 4
        assert {len(answer.result().json()["data"]) for answer in running} == {10}
    assert server.process.wait(timeout=60) == 0
    assert not [line for line in server.log if "Traceback" in line or "error" in line]


def test_a_second_interruption_does_not_wait(start_server, tmp_path):
    server = start_server(tmp_path, "--threads", 1, "--keys", tmp_path / "none")
    slow_request(server, 1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(slow_request, server, 2000)
        wait_for(lambda: in_progress(server))
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=20) == 130
        assert isinstance(running.exception(), httpx.TransportError)


def test_one_interruption_is_enough_when_nothing_runs(start_server, tmp_path):
    server = start_server(tmp_path, "--keys", tmp_path / "none")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) == 130
    assert "interrupted" in "".join(server.log)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    place = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (place / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (place / "k.pem").write_bytes(private)
    return place


def test_tls(start_server, certificate):
    server = start_server(
        certificate, "--tls-certificate", "c.pem", "--tls-key", "k.pem", "--keys", certificate / "none"
    )
    assert server.url.startswith("https://")
    trusting = ssl.create_default_context(cafile=certificate / "c.pem")
    with httpx.Client(base_url=server.url, verify=trusting) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/health", headers={"Origin": server.url}).status_code == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/health")
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url.replace("https", "http"))
    assert server.stop() == 0
