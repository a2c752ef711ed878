"""`/v1/files`, as the OpenAI API has it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse

from api.deps import CallerDep, ServicesDep, SignedIn, TrailDep
from api.openai.objects import PURPOSE, Deleted, FileObject
from api.routes.forms import FILE, form
from api.schemas.base import Page
from api.schemas.checks import FileReport

router = APIRouter(prefix="/v1/files", tags=["openai"], dependencies=[SignedIn])

FileId = Annotated[str, Path(min_length=1, max_length=64, description="The file's id.")]


@router.post("", openapi_extra=form(file=FILE, purpose={"type": "string", "enum": [PURPOSE]}))
async def upload_file(
    request: Request, caller: CallerDep, parts: ServicesDep, trail: TrailDep
) -> FileObject:
    """Keep a JSON Lines file for fine-tuning. It is written to storage while it comes."""
    kept = await parts.files.keep(caller, request.stream(), request.headers.get("content-type"))
    trail.object_id = kept.id
    return kept


@router.get("")
async def list_files(
    caller: CallerDep,
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only files behind this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="At most this many.")] = 10_000,
    order: Annotated[Literal["asc", "desc"], Query(description="By time of upload.")] = "desc",
    purpose: Annotated[str | None, Query(description="Only with this purpose.")] = None,
) -> Page[FileObject]:
    """Newest first, unless `order` is `asc`."""
    return await parts.files.page(caller, after, limit, order == "desc", purpose)


@router.get("/{file_id}")
async def get_file(file_id: FileId, caller: CallerDep, parts: ServicesDep) -> FileObject:
    """One file."""
    return await parts.files.get(caller, file_id)


@router.get("/{file_id}/content", response_class=FileResponse)
async def get_file_content(file_id: FileId, caller: CallerDep, parts: ServicesDep) -> FileResponse:
    """Its bytes."""
    file = await parts.files.get(caller, file_id)
    path = parts.files.path(file.id)
    return FileResponse(path, media_type="application/octet-stream", filename=file.filename)


@router.get("/{file_id}/report")
async def get_file_report(file_id: FileId, caller: CallerDep, parts: ServicesDep) -> FileReport:
    """Which kinds of stages can read the file, and the first rows that they cannot. This service's
    own: the OpenAI API has no such call.
    """
    return await parts.files.report(caller, file_id)


@router.delete("/{file_id}")
async def delete_file(file_id: FileId, caller: CallerDep, parts: ServicesDep) -> Deleted:
    """Delete it. 409 while a job that has not ended reads it."""
    return await parts.files.delete(caller, file_id)
