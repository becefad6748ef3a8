import pytest

from zenso.zen import load_encoder

# Lengths from one word to more than the model reads; every kind of script and symbol that a memory meets.
TEXTS = [
    "word",
    "The mitochondria is the powerhouse of the cell.",
    "!",
    "naïve café in Zürich",
    "日本語のテキストと、عربي نص",
    "emoji 🦊🚀 and math ∑ x² ≤ ∞",
    "def parse(text: str) -> date:\n    return datetime.strptime(text, '%Y-%m-%d').date()",
    "A lesson learned: retry a request only when it is idempotent. " * 4,
    "lone surrogate \ud800 and control \x07 characters",
    "the same word word word word word word word word",
    "Long text is cut after two hundred and fifty-six tokens, so this one must be longer than that. " * 20,
]


@pytest.fixture(scope="session")
def encoder():
    return load_encoder()


@pytest.fixture(scope="session")
def texts():
    return list(TEXTS)
