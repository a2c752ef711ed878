"""Composition root of the control plane."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles

from api import errors
from api.auditing import Auditing
from api.document import build as document
from api.document.build import operation_id
from api.envelope import Envelope
from api.gate import Gate
from api.observe.middleware import Observed
from api.routes import (
    artefacts,
    audit,
    chat,
    dashboard,
    events,
    files,
    fine_tuning,
    graders,
    health,
    internal,
    jobs,
    keys,
    models,
    pages,
    permissions,
    plans,
    preflights,
    quotas,
    recipes,
    reports,
    specs,
    uploads,
    webhooks,
)
from api.service.rates import RATE_HEADERS
from api.service.secret import write_private
from api.service.uploads import MAX_PART
from api.services import Services
from api.settings import Settings
from api.store.migrate import migrate
from rlhf_service.launching import JobLauncher

log = logging.getLogger("rlhf.api")

FORM_BYTES = 2**20
"""What a form may have around the file that is uploaded in it."""


def create_app(settings: Settings, launcher: JobLauncher | None = None) -> FastAPI:
    """The application. Without a launcher, the one that the settings choose."""
    services = Services.build(settings, launcher or build_launcher(settings))
    app = FastAPI(
        title="rlhf-service",
        description="Reinforcement learning from human feedback as a service.",
        lifespan=lifespan,
        docs_url=None,  # it would load its scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # made in a thread below: it takes seconds
        generate_unique_id_function=operation_id,
    )
    app.state.services = services
    larger = {
        "/v1/files": settings.max_file_bytes + FORM_BYTES,
        "/v1/uploads/[^/]+/parts": MAX_PART + FORM_BYTES,
    }
    app.add_middleware(Gate, sign_in=services.sign_in, events=services.events)
    app.add_middleware(Auditing, audit=services.audit)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **cors(settings))
    app.add_middleware(Envelope, max_body_bytes=settings.max_body_bytes, larger=larger)
    app.add_middleware(Observed, metrics=services.metrics, tracer=services.tracer)
    errors.install(app)
    document.install(app)
    for routes in (
        jobs,
        plans,
        specs,
        preflights,
        recipes,
        events,
        reports,
        artefacts,
        models,
        files,
        uploads,
        fine_tuning,
        permissions,
        graders,
        chat,
        keys,
        quotas,
        audit,
        webhooks,
        internal,
        dashboard,
        health,
        pages,
    ):
        app.include_router(routes.router)

    app.mount("/web", StaticFiles(directory=pages.WEB), name="web")
    return app


def cors(settings: Settings) -> dict[str, Any]:
    """What pages of the allowed origins may send and see. Never cookies."""
    return {
        "allow_origins": settings.cors_origins,
        "allow_methods": ["GET", "HEAD", "POST", "PUT", "DELETE"],
        "allow_headers": ["authorization", "content-type", "idempotency-key", "last-event-id"],
        "expose_headers": ["location", "retry-after", "x-request-id", *RATE_HEADERS],
        "max_age": 600,
    }


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Bring the schema up to date, make the first key, run the loops; the reverse at the end."""
    services: Services = app.state.services
    settings = services.settings
    if settings.migrate or (settings.migrate is None and services.database.is_sqlite):
        await migrate(services.database)
    await offer_first_key(services)
    loops = [asyncio.create_task(work) for work in services.loops()]
    try:
        yield
    finally:
        services.drain()
        for loop in loops:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop
        await services.close()


async def offer_first_key(services: Services) -> None:
    """A fresh installation has a key to begin with: in a file that only this user can read."""
    secret = await services.keys.ensure_first(services.settings)
    if secret is not None and services.settings.bootstrap_key is None:
        path = services.settings.control / "first-api-key"
        path.unlink(missing_ok=True)
        write_private(path, secret + "\n")
        log.warning("the first API key is in %s; keep it elsewhere and delete the file", path)


def build_launcher(settings: Settings) -> JobLauncher:
    """The launcher that the settings choose. Ray is imported here and nowhere else."""
    if settings.kuberay_file is not None and settings.launcher == "kuberay":
        from cluster.kuberay.launcher import KubeRayLauncher
        from cluster.kuberay.settings import KubeRaySettings

        found = KubeRaySettings.read(settings.kuberay_file)
        return KubeRayLauncher(found, settings.storage / "jobs")
    from cluster.launcher import RayJobLauncher

    return RayJobLauncher(settings.ray_address)
