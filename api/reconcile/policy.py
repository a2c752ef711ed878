"""Who of the waiting jobs starts, who is asked to make room, and why the others wait. Pure.

Each tenant's jobs stand in a line of their own: by level, then first come first served. The heads of
the lines compete: by level, then by the tenant's share of the cluster, the smallest first. The winner
starts when all of it fits; otherwise everybody waits with it, so that large jobs get their turn.

A level is the job's priority, and one more for each `AGEING` that it has waited; in the competition,
that its tenant has waited since it last started a job. So nothing waits for ever: a line that has
waited longer than the span of priorities is overtaken at most once by each other tenant.

What no room can help is passed over and holds up nobody: a job larger than the cluster or than its
tenant's quota, and one that waits for another job.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from api.store.quotas import Quota
from rlhf_service.launching import Capacity

AGEING = 3600.0
"""Seconds of waiting that weigh as much as one level of priority."""
EPSILON = 1e-6  # fractions of CPUs are added up in binary


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A queued job."""

    id: str
    tenant: str
    priority: int
    cpus: float
    gpus: float
    since: float
    """When it was queued, in seconds on the clock of `now`."""
    needs: tuple[str, ...] = ()
    """Jobs that have to succeed first, and have not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A job that holds resources, or is about to."""

    id: str
    tenant: str
    priority: int
    cpus: float
    gpus: float
    preemptible: bool
    stopping: bool
    """It was asked to let go: its room comes free by itself."""


@dataclass(slots=True)
class Decisions:
    """What follows."""

    starts: list[str] = field(default_factory=list)
    preempts: dict[str, str] = field(default_factory=dict)
    """Running job → the one that it makes room for."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Waiting job → why it waits."""


def decide(
    waiting: Sequence[Waiting],
    running: Sequence[Running],
    capacity: Capacity,
    quotas: Mapping[str, Quota],
    started: Mapping[str, float],
    now: float,
) -> Decisions:
    """`quotas` of the tenants that have any; `started`: when each tenant last started a job."""
    found, holders = Decisions(), list(running)
    lines: dict[str, list[Waiting]] = {}
    for one in sorted(waiting, key=lambda job: (-level(job, now), job.since, job.id)):
        if reason := hopeless(one, capacity, quotas.get(one.tenant, Quota())):
            found.reasons[one.id] = reason
        else:
            lines.setdefault(one.tenant, []).append(one)
    contest = Contest(lines, dict(started), Tally.of(running), capacity, now)
    while (job := contest.next()) is not None:
        if reason := over_quota(job, holders, quotas.get(job.tenant, Quota())):
            # Its tenant's next jobs wait with it, or they would take what it waits for.
            found.reasons[job.id] = reason
            for place, other in enumerate(contest.withdraw(job.tenant)[1:], start=2):
                found.reasons[other.id] = f"{place}. of its tenant's line, behind {job.id}"
        elif lacking := shortage(job, holders, capacity):
            found.preempts = {victim.id: job.id for victim in make_room(job, holders, capacity)}
            names = ", ".join(found.preempts)
            found.reasons[job.id] = f"{lacking}; asked to make room: {names}" if names else lacking
            order = contest.play_out()
            for place, other in enumerate(order[1:], start=2):
                found.reasons[other.id] = (
                    f"waiting for its turn behind {job.id}: {place}. of {len(order)} in the queue"
                )
        else:
            found.starts.append(job.id)
            holders.append(as_running(job))
            contest.won(job)
    return found


class Tally:
    """What each tenant holds."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[float, float]] = {}
        self.total = (0.0, 0.0)

    @classmethod
    def of(cls, running: Iterable[Running]) -> Tally:
        tally = cls()
        for job in running:
            tally.add(job)
        return tally

    def add(self, job: Running | Waiting) -> None:
        cpus, gpus = self.held.get(job.tenant, (0.0, 0.0))
        self.held[job.tenant] = (cpus + job.cpus, gpus + job.gpus)
        self.total = (self.total[0] + job.cpus, self.total[1] + job.gpus)

    def share(self, tenant: str, capacity: Capacity) -> float:
        """The larger of its parts of the CPUs and GPUs: of the cluster's, and where that has no
        end, of what is held.
        """
        shares = [0.0]
        for held, has, total in zip(
            self.held.get(tenant, ()), (capacity.cpus, capacity.gpus), self.total, strict=False
        ):
            if held > 0:
                shares.append(held / max(has if math.isfinite(has) else total, held))
        return max(shares)


@dataclass(slots=True)
class Contest:
    """The heads of the tenants' lines, one of which is next."""

    lines: dict[str, list[Waiting]]
    started: dict[str, float]
    tally: Tally
    capacity: Capacity
    now: float

    def next(self) -> Waiting | None:
        """Whose turn it is."""
        tenant = min(self.lines, key=self._rank, default=None)
        return None if tenant is None else self.lines[tenant][0]

    def won(self, job: Waiting) -> None:
        """It starts; its tenant's next is the head now, and has waited since."""
        self.tally.add(job)
        self.started[job.tenant] = self.now
        self.lines[job.tenant].pop(0)
        if not self.lines[job.tenant]:
            del self.lines[job.tenant]

    def withdraw(self, tenant: str) -> list[Waiting]:
        return self.lines.pop(tenant)

    def play_out(self) -> list[Waiting]:
        """Everyone, as they would start if there were room for all. The contest is over."""
        order = []
        while (job := self.next()) is not None:
            order.append(job)
            self.won(job)
        return order

    def _rank(self, tenant: str) -> tuple[int, float, float, str]:
        """The least is next."""
        head = self.lines[tenant][0]
        since = max(head.since, self.started.get(tenant, head.since))
        share = self.tally.share(tenant, self.capacity)
        return (-level(head, self.now, since), share, since, head.id)


def level(job: Waiting, now: float, since: float | None = None) -> int:
    """Priority, and what waiting adds to it."""
    waited = max(0.0, now - (job.since if since is None else since))
    return job.priority + int(waited / AGEING)


def hopeless(job: Waiting, capacity: Capacity, quota: Quota) -> str:
    """Why the job cannot start whoever else stops; empty when it can."""
    if job.needs:
        return f"waiting for {', '.join(job.needs)} to succeed"
    for noun, needs, has, most in (
        ("CPUs", job.cpus, capacity.cpus, quota.cpus),
        ("GPUs", job.gpus, capacity.gpus, quota.gpus),
    ):
        if needs > has + EPSILON:
            return f"waiting for a larger cluster: needs {needs:g} {noun}, it has {has:g}"
        if most is not None and needs > most + EPSILON:
            return (
                f"waiting for a larger quota: needs {needs:g} {noun}, "
                f"tenant {job.tenant!r} may hold {most:g}"
            )
    if quota.running_jobs == 0:
        return f"waiting for a larger quota: tenant {job.tenant!r} may run no job"
    return ""


def over_quota(job: Waiting, holders: Iterable[Running], quota: Quota) -> str:
    """What of its tenant's quota the job waits for; empty when there is enough."""
    mine = [other for other in holders if other.tenant == job.tenant]
    for noun, needs, held, most in (
        ("running jobs", 1.0, float(len(mine)), quota.running_jobs),
        ("CPUs", job.cpus, sum(other.cpus for other in mine), quota.cpus),
        ("GPUs", job.gpus, sum(other.gpus for other in mine), quota.gpus),
    ):
        if most is not None and held + needs > most + EPSILON:
            return (
                f"waiting for the quota of {most:g} {noun} of tenant {job.tenant!r}: "
                f"{held:g} held, needs {needs:g}"
            )
    return ""


def shortage(job: Waiting, holders: Sequence[Running], capacity: Capacity) -> str:
    """What the job waits for; empty when there is room for all of it."""
    free = room(holders, capacity)
    for noun, needs, has in (("CPUs", job.cpus, free.cpus), ("GPUs", job.gpus, free.gpus)):
        if needs > has + EPSILON:
            names = ", ".join(other.id for other in holders)
            return f"waiting for {needs:g} {noun}; {max(has, 0.0):g} free; held by {names}"
    return ""


def make_room(job: Waiting, holders: Sequence[Running], capacity: Capacity) -> list[Running]:
    """Jobs of lower priority that let themselves be pre-empted: the lowest first, those that hold
    most first, and none that is not needed. Nobody when it would not suffice, or room comes anyway.
    """
    free = room([other for other in holders if not other.stopping], capacity)
    if fits(job, free):
        return []
    chosen: list[Running] = []
    candidates = [
        other
        for other in holders
        if other.preemptible and not other.stopping and other.priority < job.priority
    ]
    for other in sorted(candidates, key=lambda o: (o.priority, -o.gpus, -o.cpus, o.id)):
        chosen.append(other)
        free = Capacity(free.cpus + other.cpus, free.gpus + other.gpus)
        if fits(job, free):
            break
    else:
        return []
    for other in list(reversed(chosen)):  # the highest priority is spared first
        without = Capacity(free.cpus - other.cpus, free.gpus - other.gpus)
        if fits(job, without):
            chosen.remove(other)
            free = without
    return chosen


def room(holders: Iterable[Running], capacity: Capacity) -> Capacity:
    everyone = list(holders)
    return Capacity(
        capacity.cpus - sum(job.cpus for job in everyone),
        capacity.gpus - sum(job.gpus for job in everyone),
    )


def fits(job: Waiting, free: Capacity) -> bool:
    return job.cpus <= free.cpus + EPSILON and job.gpus <= free.gpus + EPSILON


def as_running(job: Waiting) -> Running:
    return Running(
        id=job.id,
        tenant=job.tenant,
        priority=job.priority,
        cpus=job.cpus,
        gpus=job.gpus,
        preemptible=False,
        stopping=False,
    )
