import time


def test_the_demo_is_a_page_while_it_indexes(start_server, tmp_path):
    arguments = ("-m", tmp_path / "demo", "--modules", "json,shutil")
    server = start_server(tmp_path, *arguments, command=("demo", "--serve"))
    with server.client() as client:
        deadline = time.monotonic() + 60
        while "json.dump" not in client.get("/", params={"q": "write an object as JSON"}).text:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert server.stop() == 0
