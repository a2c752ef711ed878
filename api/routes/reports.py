"""A job's report: `/v1/jobs/{id}/report.json` and `report.html`."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from api.deps import CallerDep, JobId, ServicesDep, SignedIn
from rlhf_service.report.collect import JobReport
from rlhf_service.report.policy import CONTENT_SECURITY_POLICY

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["reports"], dependencies=[SignedIn])


@router.get("/report.json")
async def get_job_report(job_id: JobId, caller: CallerDep, parts: ServicesDep) -> JobReport:
    """What each stage did and changed; of a running job, so far."""
    return await parts.reports.get(caller, job_id)


@router.get("/report.html", response_class=HTMLResponse)
async def get_job_report_page(job_id: JobId, caller: CallerDep, parts: ServicesDep) -> HTMLResponse:
    """The same as one page that needs nothing else, charts and samples in it."""
    page = await parts.reports.page(caller, job_id)
    # The page says the same in itself, for when it is opened from a file.
    policy = f"{CONTENT_SECURITY_POLICY}; sandbox"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})
