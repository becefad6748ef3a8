"""The example of docs/network.md runs as it is written."""

import re
from pathlib import Path

from zenso.network import prompt_block

PAGE = Path(__file__).parents[2] / "docs" / "network.md"


def test_the_example_runs(tmp_path, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names = {"path": tmp_path / "key.pem", "folder": tmp_path}
    exec(compile(code, str(PAGE), "exec"), names)
    assert capsys.readouterr().out == f"accepted\n{prompt_block(names['found'])}\n"
    assert [one.text for one in names["found"]] == ["Retry idempotent requests only."]
    names["experiences"].memory.close()
    names["store"].close()
