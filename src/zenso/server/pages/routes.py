"""All pages in one router; the description of the API leaves them out."""

from fastapi import APIRouter

from zenso.server.pages import document_map, documents, indexing, login, search, static, status, verify

router = APIRouter(include_in_schema=False)
for _page in (search, documents, indexing, status, verify, document_map, login, static):
    router.include_router(_page.router)
