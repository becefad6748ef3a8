"""The files that others run the server with."""

import json
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zenso.cli.app import app

ROOT = Path(__file__).parents[1]
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"


def instructions(word):
    return re.findall(rf"^{word} (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_dockerfile_has_no_lint():
    done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_starts_with_a_command_that_there_is():
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["zenso"]
    command = json.loads(instructions("CMD")[-1])
    done = CliRunner().invoke(app, [*command, "--check", "--keys", "none.json"])
    assert done.exit_code == 1
    assert "0.0.0.0 can be reached by other machines" in done.stderr


def test_the_image_is_built_from_what_the_package_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    taken = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert {"pyproject.toml", "hatch_build.py", "src", project["readme"], *project["license-files"]} == taken
    for default in re.findall("ARG EXTRAS=(.*)", (ROOT / "Dockerfile").read_text()):
        assert default in project["optional-dependencies"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_valid_and_shut_in(tmp_path):
    text = (ROOT / "deploy/zenso.service").read_text().replace("/opt/zenso/bin/zenso", "/bin/true")
    unit = tmp_path / "zenso.service"
    unit.write_text(text.replace("User=zenso", "User=daemon"))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert "zenso.service" not in verified.stderr
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-300:]
