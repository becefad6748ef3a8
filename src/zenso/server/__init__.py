"""The HTTP server: APIs that existing clients speak, and pages."""

from zenso.server.app import create_app
from zenso.server.keys import Key, KeyFile, Scope
from zenso.server.run import check, serve
from zenso.server.settings import DEFAULT_KEYS, DEFAULT_PORT, Settings, load_settings

__all__ = [
    "DEFAULT_KEYS",
    "DEFAULT_PORT",
    "Key",
    "KeyFile",
    "Scope",
    "Settings",
    "check",
    "create_app",
    "load_settings",
    "serve",
]
