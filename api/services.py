"""Everything a request may need, made once for each application."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass

from api.observe.lag import LoopLag
from api.observe.metrics import Instruments
from api.reconcile.delivery import Deliverer
from api.reconcile.garbage import Garbage
from api.reconcile.loop import Reconciler
from api.service.artefacts import Artefacts
from api.service.audit import Audit
from api.service.checkpoints import Checkpoints
from api.service.cluster import Cluster
from api.service.dashboard import Dashboard
from api.service.deletion import Deletion
from api.service.descent import Descent
from api.service.drafts import Drafts
from api.service.events import Events
from api.service.exporter import Exporter
from api.service.files import Files
from api.service.fine_tuning import FineTuning
from api.service.generation import Generation
from api.service.graders import Graders
from api.service.health import Health
from api.service.jobs import Jobs
from api.service.keys import Keys
from api.service.lineage import Lineage
from api.service.models import Models
from api.service.oidc import oidc_of
from api.service.permissions import Permissions
from api.service.plans import Plans
from api.service.preflights import Preflights
from api.service.quotas import Quotas
from api.service.rates import Rates
from api.service.recipes import Recipes
from api.service.registry import Registry
from api.service.reports import Reports
from api.service.retention import Retention
from api.service.scrape import Scrape
from api.service.secret import server_secret
from api.service.sessions import Sessions
from api.service.sign_in import SignIn
from api.service.signals import Signals
from api.service.stream import Streams
from api.service.territory import Territory
from api.service.uploads import Uploads
from api.service.webhooks import Webhooks
from api.settings import Settings
from api.store.database import Database
from api.store.listener import Listener
from rlhf_service.launching import JobLauncher
from rlhf_service.tracing.base import Tracer
from rlhf_service.tracing.build import build_tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The application's parts."""

    settings: Settings
    database: Database
    cluster: Cluster
    jobs: Jobs
    plans: Plans
    descent: Descent
    deletion: Deletion
    events: Events
    streams: Streams
    reports: Reports
    artefacts: Artefacts
    checkpoints: Checkpoints
    models: Models
    registry: Registry
    lineage: Lineage
    files: Files
    uploads: Uploads
    fine_tuning: FineTuning
    graders: Graders
    generation: Generation
    permissions: Permissions
    keys: Keys
    sign_in: SignIn
    sessions: Sessions
    dashboard: Dashboard
    quotas: Quotas
    audit: Audit
    rates: Rates
    """Requests of each caller."""
    failures: Rates
    """Wrong credentials from each address."""
    drafts: Drafts
    preflights: Preflights
    recipes: Recipes
    webhooks: Webhooks
    deliverer: Deliverer
    reconciler: Reconciler
    listener: Listener
    lag: LoopLag
    health: Health
    metrics: Instruments
    scrape: Scrape
    tracer: Tracer
    retention: Retention

    @classmethod
    def build(cls, settings: Settings, launcher: JobLauncher) -> Services:
        for folder in (settings.storage / "jobs", settings.storage / "data"):
            folder.mkdir(parents=True, exist_ok=True)
        secret = server_secret(settings)
        database, signals = Database.of(settings), Signals()
        cluster = Cluster(launcher, settings.launcher_timeout, settings.growth)
        keys = Keys(database)
        territory = Territory(database, settings)
        jobs = Jobs(database, cluster, signals, territory, settings)
        registry = Registry(database, territory, settings)
        files = Files(database, settings)
        models = Models(database, registry, Exporter(settings), settings)
        permissions = Permissions(database, models)
        uploads = Uploads(database, files, settings)
        metrics, lag = Instruments(), LoopLag()
        streams = Streams(database, signals, settings)
        listener = Listener(database, signals.notify, signals.notify_all)
        garbage = Garbage(database, uploads, settings)
        reconciler = Reconciler(database, cluster, signals, settings, secret, garbage, metrics)
        seen = (streams, reconciler, cluster, listener, lag)
        return cls(
            settings=settings,
            database=database,
            cluster=cluster,
            jobs=jobs,
            plans=Plans(database, territory, settings),
            descent=Descent(database, jobs, settings),
            deletion=Deletion(database, settings),
            events=Events(database, signals, metrics),
            streams=streams,
            reports=Reports(database),
            artefacts=Artefacts(jobs, reconciler.visitor.copies, settings),
            checkpoints=Checkpoints(database, settings),
            models=models,
            registry=registry,
            lineage=Lineage(database, models),
            files=files,
            uploads=uploads,
            fine_tuning=FineTuning(database, jobs, files, models),
            graders=Graders(),
            generation=Generation(models, permissions, settings),
            permissions=permissions,
            keys=keys,
            sign_in=SignIn(keys, oidc_of(settings)),
            sessions=Sessions(keys, secret),
            dashboard=Dashboard(settings),
            quotas=Quotas(database),
            audit=Audit(database, settings),
            rates=Rates(settings.rate_limit),
            failures=Rates(settings.sign_in_failures),
            drafts=Drafts(cluster, territory, settings),
            preflights=Preflights(territory, settings.roots),
            recipes=Recipes(settings),
            webhooks=Webhooks(database, signals, secret),
            deliverer=Deliverer(database, signals, settings, secret),
            reconciler=reconciler,
            listener=listener,
            lag=lag,
            health=Health(settings, database, cluster, reconciler, lag),
            metrics=metrics,
            scrape=Scrape(metrics, database, settings, seen),
            tracer=build_tracer(settings.otlp_endpoint, "rlhf-control-plane"),
            retention=Retention(database, settings),
        )

    def drain(self) -> None:
        """Take leave of clients: not ready any more, and every stream is asked to reconnect."""
        self.health.stopping = True
        self.streams.close()

    def loops(self) -> list[Coroutine[None, None, None]]:
        """What runs beside the requests until it is cancelled."""
        loops = [self.streams.tails.poll(), self.lag.run()]
        if not self.database.is_sqlite:
            loops.append(self.listener.run())
        if self.settings.reconcile:
            loops += [self.reconciler.run(), self.deliverer.run()]
            if self.settings.event_days:
                loops.append(self.retention.run())
        return loops

    async def close(self) -> None:
        await self.generation.close()
        await self.sign_in.close()
        await self.dashboard.close()
        self.graders.close()
        self.preflights.close()
        self.cluster.close()
        self.reconciler.visitor.copies.close()
        await self.database.close()
        await asyncio.to_thread(self.tracer.close)
