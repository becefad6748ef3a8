"""Pages for people: written by the server, without a build step, and without anything from elsewhere."""

from zenso.server.pages.routes import router

__all__ = ["router"]
