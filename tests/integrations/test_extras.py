import subprocess
import sys

import pytest

from zenso.errors import ZensoError
from zenso.integrations import MissingExtraError

FRAMEWORKS = [
    ("langchain", "langchain_core", "langchain-core"),
    ("llama_index", "llama_index", "llama-index-core"),
    ("haystack", "haystack", "haystack-ai"),
]


@pytest.mark.parametrize(("module", "framework", "package"), FRAMEWORKS)
def test_without_its_framework_a_module_names_the_extra(module, framework, package):
    script = f"""
import sys
sys.modules[{framework!r}] = None  # what Python finds when a package is missing
from zenso.integrations import MissingExtraError
try:
    import zenso.integrations.{module}
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    extra = module.replace("_", "-")
    assert done.stdout == f"this needs {package}, which is missing or too old: pip install 'zenso[{extra}]'\n"


def test_the_error_is_of_both_families():
    assert issubclass(MissingExtraError, ZensoError)
    assert issubclass(MissingExtraError, ImportError)


def test_zenso_imports_no_framework():
    names = [framework for _, framework, _ in FRAMEWORKS]
    script = (
        f"import sys, zenso, zenso.cli.app, zenso.memory, zenso.rerank; print([n for n in {names} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
