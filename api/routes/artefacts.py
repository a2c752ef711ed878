"""What a job leaves in storage: `/v1/jobs/{id}/checkpoints`, `artefacts`, `archive`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse, StreamingResponse

from api.deps import CallerDep, JobId, Limit, ServicesDep, SignedIn
from api.download import Download
from api.schemas.artefacts import ArtefactView, CheckpointView
from api.schemas.base import Page
from api.service.artefacts import tar, tar_size

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["artefacts"], dependencies=[SignedIn])

Under = Annotated[
    str, Query(max_length=512, description="Only this file, or what lies in this folder.")
]


@router.get("/checkpoints")
async def list_checkpoints(
    job_id: JobId,
    caller: CallerDep,
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only checkpoints older than this.")] = None,
    limit: Limit = 100,
) -> Page[CheckpointView]:
    """Newest first: what lies in storage now, whole or not."""
    return await parts.checkpoints.page(caller, job_id, after, limit)


@router.get("/artefacts")
async def list_artefacts(
    job_id: JobId,
    caller: CallerDep,
    parts: ServicesDep,
    path: Under = "",
    after: Annotated[str | None, Query(description="Only paths behind this one.")] = None,
    limit: Limit = 1000,
) -> Page[ArtefactView]:
    """The job's files, by path."""
    return await parts.artefacts.page(caller, job_id, path, after, limit)


@router.get("/artefacts/{path:path}", response_class=FileResponse)
async def download_artefact(
    job_id: JobId,
    path: Annotated[str, Path(min_length=1, max_length=512, description="As it was listed.")],
    caller: CallerDep,
    parts: ServicesDep,
) -> Download:
    """One file's bytes. `Range`, `If-Range` and `If-None-Match` are understood."""
    return Download(await parts.artefacts.file(caller, job_id, path))


@router.get("/archive", response_class=StreamingResponse)
async def download_archive(
    job_id: JobId, caller: CallerDep, parts: ServicesDep, path: Under = ""
) -> StreamingResponse:
    """The job's files as one tar archive, made while it is sent."""
    found = await parts.artefacts.at_hand(caller, job_id, path)
    headers = {
        "content-disposition": f'attachment; filename="{job_id}.tar"',
        "content-length": str(tar_size(job_id, found)),
    }
    return StreamingResponse(tar(job_id, found), media_type="application/x-tar", headers=headers)
