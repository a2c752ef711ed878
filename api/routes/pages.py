"""The page, a job's report, and what describes the API to machines."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse

router = APIRouter(include_in_schema=False)

WEB = Path(__file__).parent.parent / "web"

REPORT_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
)
"""Of the page that shows a job's report, whose charts carry their own styles."""


@router.get("/openapi.json")
def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/web/report.html")
async def report_page() -> FileResponse:
    policy = {"content-security-policy": REPORT_POLICY}
    return FileResponse(WEB / "report.html", headers=policy)


@router.get("/")
async def page() -> FileResponse:
    return FileResponse(WEB / "index.html")
