"""`/v1/uploads`, as the OpenAI API has it: large files in parts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from api.deps import CallerDep, ServicesDep, SignedIn
from api.openai.upload_objects import CompleteUpload, CreateUpload, UploadObject, UploadPart
from api.routes.forms import FILE, form
from api.schemas.base import Page

router = APIRouter(prefix="/v1/uploads", tags=["openai"], dependencies=[SignedIn])

UploadId = Annotated[str, Path(min_length=1, max_length=64, description="The upload's id.")]


@router.post("")
async def create_upload(body: CreateUpload, caller: CallerDep, parts: ServicesDep) -> UploadObject:
    """Announce a file that will come in parts of at most 64 MiB, within an hour."""
    return await parts.uploads.create(caller, body)


@router.get("/{upload_id}")
async def get_upload(upload_id: UploadId, caller: CallerDep, parts: ServicesDep) -> UploadObject:
    """One upload. This service's own: the OpenAI API has no such call."""
    return await parts.uploads.get(caller, upload_id)


@router.get("/{upload_id}/parts")
async def list_upload_parts(
    upload_id: UploadId, caller: CallerDep, parts: ServicesDep
) -> Page[UploadPart]:
    """What has come so far, to go on after a break. This service's own."""
    found = await parts.uploads.parts(caller, upload_id)
    return Page[UploadPart].of(found, len(found), lambda part: part.id)


@router.post("/{upload_id}/parts", openapi_extra=form(data=FILE))
async def add_upload_part(
    upload_id: UploadId, request: Request, caller: CallerDep, parts: ServicesDep
) -> UploadPart:
    """Send a part. Parts may be sent side by side and again; `complete` says which count."""
    kind = request.headers.get("content-type")
    return await parts.uploads.add(caller, upload_id, request.stream(), kind)


@router.post("/{upload_id}/complete")
async def complete_upload(
    upload_id: UploadId, body: CompleteUpload, caller: CallerDep, parts: ServicesDep
) -> UploadObject:
    """Join the parts into a file, which is checked like one that came whole."""
    return await parts.uploads.complete(caller, upload_id, body)


@router.post("/{upload_id}/cancel")
async def cancel_upload(upload_id: UploadId, caller: CallerDep, parts: ServicesDep) -> UploadObject:
    """Drop it and its parts."""
    return await parts.uploads.cancel(caller, upload_id)
