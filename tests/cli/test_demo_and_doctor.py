import sys

from zenso import models
from zenso.canonical import engine_name, kernel_digest
from zenso.memory.reading import DEFAULT_MODEL
from zenso.models.cache import cache_folder
from zenso.zen import code_version


def test_demo_finds_what_parses_dates(zenso):
    modules = ("--memory", "demo", "--modules", "datetime,time,json,calendar,email.utils,string,textwrap")
    asked = ("demo", *modules, "--query", "parse a date from a string", "--json")
    first = zenso(*asked).json
    names = [hit["name"] for hit in first["hits"]]
    assert {"datetime.datetime.strptime", "time.strptime"} & set(names[:5]), names
    second = zenso(*asked).json
    assert [hit["id"] for hit in second["hits"]] == [hit["id"] for hit in first["hits"]]
    assert second["documents"] == first["documents"]
    assert second["query"] == "parse a date from a string"


def test_demo_without_a_folder_passes_over_memories_of_other_codes(zenso, tmp_path):
    cache = tmp_path / "cache"
    older = cache / "zenso" / "demo-0123456789ab"
    older.mkdir(parents=True)
    (older / "memory.sqlite").write_bytes(b"of another version")
    environment = {
        "XDG_CACHE_HOME": str(cache),
        "ZENSO_CACHE": str(cache_folder(models.lookup(DEFAULT_MODEL)).parents[1]),
    }
    done = zenso("demo", "--modules", "shutil", "--query", "copy a file", "--json", environment=environment)
    assert done.json["hits"]
    assert {folder.name for folder in (cache / "zenso").iterdir()} == {
        older.name,
        f"demo-{code_version(DEFAULT_MODEL)}",
    }


def test_demo_answers_each_line_of_its_input(zenso):
    modules = ("--memory", "demo", "--modules", "json,shutil")
    done = zenso("demo", *modules, stdin=b"write an object as JSON\n\ncopy a folder with all its files\n")
    assert "json.dump" in done.out
    assert "shutil.copytree" in done.out


def test_doctor_is_content_here(zenso):
    checks = {check["name"]: check for check in zenso("doctor", "--json").json["checks"]}
    assert {check["state"] for check in checks.values()} <= {"ok", "warn"}
    assert kernel_digest().hex() in checks["kernel"]["detail"]
    assert engine_name() in checks["engine"]["detail"]
    assert checks["self test"]["state"] == "ok"
    assert sys.version.split()[0] in checks["versions"]["detail"]


def test_doctor_tells_what_is_wrong(zenso, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = zenso("doctor", code=1, environment={"ZENSO_CACHE": str(tmp_path / "file" / "cache"), "ZENSO_OFFLINE": "1"})
    assert "cannot be written" in done.out
    assert "ZENSO_CACHE" in done.out


def test_doctor_downloads_nothing(zenso, tmp_path):
    done = zenso("doctor", "--json", environment={"ZENSO_CACHE": str(tmp_path / "empty")})
    assert "not fetched" in done.out
    assert not (tmp_path / "empty").exists()


def test_doctor_knows_an_engine_that_is_no_choice(zenso):
    done = zenso("doctor", code=1, environment={"ZENSO_ENGINE": "abacus"})
    assert "ZENSO_ENGINE" in done.out
