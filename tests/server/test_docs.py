"""The examples of clients in docs/server.md run, against a real server, and print what they say."""

import gc
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/server.md").read_text("utf-8")
CLIENTS = re.search(r"^## Clients$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL).group(1)
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", CLIENTS, re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # examples are short: they leave connections open
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_and_prints_what_it_says(server, example, capsys):
    exec(compile(example.replace("http://127.0.0.1:7680", server.url), "example", "exec"), {})
    gc.collect()
    said = re.findall(r"^print\(.*\)  # (.*)$", example, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said
