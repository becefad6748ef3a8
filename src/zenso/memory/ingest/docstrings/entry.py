"""One piece of documentation: what has a name in Python and a docstring."""

import re
from dataclasses import dataclass
from typing import Literal

from zenso.memory.ingest.encoding import without_surrogates

EntryKind = Literal["module", "class", "function", "method", "property"]

_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class DocstringEntry:
    """Documentation of one name of the standard library.

    ``name`` is the name to use (``datetime.datetime.strptime``; of builtins without their module, ``str.join``),
    ``signature`` the parameters in parentheses or "" where there are none to show, ``docstring`` is cleaned as
    `inspect.cleandoc` does.
    """

    name: str
    kind: EntryKind
    signature: str
    docstring: str

    @property
    def text(self) -> str:
        """What to index: the words of the name, and the docstring.

        A name says much of what a function is for, but a model knows words: ``OrderedDict`` becomes ``ordered dict``.
        Parameters are left out: tried with ten questions, they cost rank more often than they gave it.
        """
        words = " ".join(_CAPITALS.sub(" ", self.name).replace(".", " ").replace("_", " ").lower().split())
        return without_surrogates(f"{words}: {self.docstring}")
