"""The admission policy alone: random arrivals, and what must hold for all of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from api.reconcile.policy import AGEING, Decisions, Running, Waiting, decide, over_quota, room
from api.store.quotas import Quota
from rlhf_service.launching import Capacity
from rlhf_service.spec.job import PRIORITIES

CLUSTER = Capacity(8.0, 2.0)
SPAN = PRIORITIES[1] - PRIORITIES[0]


def job(name: str, tenant: str = "a", cpus: float = 1.0, **changes: object) -> Waiting:
    given = {"priority": 0, "gpus": 0.0, "since": 0.0, **changes}
    return Waiting(id=name, tenant=tenant, cpus=cpus, **given)  # type: ignore[arg-type]


def holder(name: str, tenant: str = "a", cpus: float = 1.0, **changes: object) -> Running:
    given = {"priority": 0, "gpus": 0.0, "preemptible": False, "stopping": False, **changes}
    return Running(id=name, tenant=tenant, cpus=cpus, **given)  # type: ignore[arg-type]


def ask(
    waiting: list[Waiting],
    running: list[Running] | None = None,
    now: float = 0.0,
    **changes: object,
) -> Decisions:
    given = {"capacity": CLUSTER, "quotas": {}, "started": {}, **changes}
    return decide(waiting, running or [], now=now, **given)  # type: ignore[arg-type]


waiting_jobs = st.lists(
    st.builds(
        Waiting,
        id=st.uuids().map(str),
        tenant=st.sampled_from("abc"),
        priority=st.integers(*PRIORITIES),
        cpus=st.sampled_from([0.5, 1.0, 3.0, 8.0, 9.0]),
        gpus=st.sampled_from([0.0, 0.0, 1.0, 2.0]),
        since=st.floats(0, 1e5),
        needs=st.sampled_from([(), (), (), ("job-x",)]),
    ),
    max_size=12,
)
running_jobs = st.lists(
    st.builds(
        Running,
        id=st.uuids().map(str),
        tenant=st.sampled_from("abc"),
        priority=st.integers(*PRIORITIES),
        cpus=st.sampled_from([0.5, 1.0, 2.0]),
        gpus=st.sampled_from([0.0, 1.0]),
        preemptible=st.booleans(),
        stopping=st.booleans(),
    ),
    max_size=4,
)
limits = st.none() | st.integers(0, 4)
quotas = st.dictionaries(
    st.sampled_from("abc"), st.builds(Quota, running_jobs=limits, cpus=limits, gpus=limits)
)


@given(waiting_jobs, running_jobs, quotas)
def test_what_starts_fits_and_everyone_else_is_told_why(
    waiting: list[Waiting], running: list[Running], limited: dict[str, Quota]
) -> None:
    found = ask(waiting, running, now=1e5, quotas=limited)
    by_id = {one.id: one for one in waiting}
    assert {*found.starts} | {*found.reasons} == {*by_id} and not {*found.starts} & {*found.reasons}
    assert all(found.reasons.values())
    held = list(running)
    for name in found.starts:
        one = by_id[name]
        assert not one.needs
        assert not over_quota(one, held, limited.get(one.tenant, Quota()))
        held.append(holder(name, one.tenant, one.cpus, gpus=one.gpus))
    before, after = room(running, CLUSTER), room(held, CLUSTER)
    if found.starts:
        assert after.cpus >= -1e-6 and (after.gpus >= -1e-6 or before.gpus < 0)


@given(waiting_jobs, running_jobs, quotas)
def test_who_makes_room_is_lower_willing_and_needed(
    waiting: list[Waiting], running: list[Running], limited: dict[str, Quota]
) -> None:
    found = ask(waiting, running, now=1e5, quotas=limited)
    by_id = {one.id: one for one in running}
    asking = {one.id: one for one in waiting}
    assert len(set(found.preempts.values())) <= 1
    started = [
        holder(name, asking[name].tenant, asking[name].cpus, gpus=asking[name].gpus)
        for name in found.starts
    ]
    staying = [one for one in running if not one.stopping]
    for victim, winner in found.preempts.items():
        assert by_id[victim].preemptible and not by_id[victim].stopping
        assert by_id[victim].priority < asking[winner].priority
        assert victim in found.reasons[winner]
    if found.preempts:
        winner = next(iter(found.preempts.values()))
        need = asking[winner]

        def enough(victims: set[str]) -> bool:
            free = room([o for o in [*staying, *started] if o.id not in victims], CLUSTER)
            return need.cpus <= free.cpus + 1e-6 and need.gpus <= free.gpus + 1e-6

        victims = set(found.preempts)
        assert enough(victims)
        assert not any(enough(victims - {one}) for one in victims)


@given(waiting_jobs, quotas)
def test_an_idle_cluster_never_idles_beside_a_job_that_could_run(
    waiting: list[Waiting], limited: dict[str, Quota]
) -> None:
    found = ask(waiting, quotas=limited)
    able = [one for one in waiting if not ask([one], quotas=limited).reasons]
    assert bool(found.starts) == bool(able)


arrivals = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(*PRIORITIES),
        st.sampled_from([1.0, 2.0, 5.0, 8.0]),
        st.integers(1, 6),  # turns that it runs
        st.integers(0, 3),  # turns until the next arrives
    ),
    min_size=5,
    max_size=60,
)


@given(arrivals, st.floats(0.05, 3.0))
def test_nobody_starves(stream: list[tuple[str, int, float, int, int]], pace: float) -> None:
    """A line that has waited longer than the priorities span is passed at most once by each other
    tenant, however urgent what they submit is; and everything runs in the end.
    """
    turn, waiting, ends = 0, list[Waiting](), dict[str, tuple[int, Running]]()
    last, durations, passed = dict[str, float](), dict[str, int](), dict[str, list[str]]()
    pending, due = list(stream), 0
    while pending or waiting or ends:
        now = turn * pace * AGEING
        while pending and due <= turn:
            tenant, priority, cpus, runs, gap = pending.pop(0)
            name = f"{len(durations):03}"
            waiting.append(job(name, tenant, cpus, priority=priority, since=now))
            durations[name], due = runs, turn + gap
        ends = {name: found for name, found in ends.items() if found[0] > turn}
        running = [found[1] for found in ends.values()]
        decisions = ask(waiting, running, now=now, started=last)
        for name in decisions.starts:
            one = next(one for one in waiting if one.id == name)
            waiting.remove(one)
            ends[name] = (turn + durations[name], holder(name, one.tenant, one.cpus))
            last[one.tenant] = now
            passed.pop(one.tenant, None)
            for tenant, others in passed.items():
                others.append(one.tenant)
                assert len(others) == len(set(others)), f"{tenant} was passed twice by one tenant"
        for tenant in {one.tenant for one in waiting}:
            oldest = min(one.since for one in waiting if one.tenant == tenant)
            if now - max(oldest, last.get(tenant, oldest)) > (SPAN + 1) * AGEING:
                passed.setdefault(tenant, [])
        turn += 1
        assert turn < 5000, "it never ends"


def test_the_tenant_that_holds_least_is_next() -> None:
    waiting = [job("a1", "a", 4.0), job("a2", "a", 4.0), job("b1", "b", 4.0, since=10.0)]
    assert ask(waiting, now=20.0).starts == ["a1", "b1"]
    held = [holder("h", "b", 4.0)]
    assert ask(waiting, held, now=20.0).starts == ["a1"]


def test_a_thousand_jobs_at_once_do_not_shut_out_who_comes_later() -> None:
    crowd = [job(f"a{n:04}", "a", 8.0) for n in range(1000)]
    late = job("b", "b", 8.0, since=50 * AGEING)
    found = ask([*crowd, late], now=50 * AGEING + 1, started={"a": 50 * AGEING + 0.5})
    assert found.starts == ["b"]


def test_priorities_go_first_and_waiting_makes_up_for_them() -> None:
    low, high = job("low", "a", 8.0), job("high", "b", 8.0, priority=2, since=0.5 * AGEING)
    assert ask([low, high], now=AGEING).starts == ["high"]
    assert ask([low, replace(high, since=3.5 * AGEING)], now=3.6 * AGEING).starts == ["low"]


def test_what_is_said_to_those_who_wait() -> None:
    waiting = [
        job("big", cpus=6.0),
        job("next", "b", since=1.0),
        job("huge", cpus=9.0),
        job("chained", needs=("job-1", "job-2")),
        job("capped", "c"),
        job("behind", "c", since=1.0),
    ]
    found = ask(
        waiting,
        [holder("h", cpus=4.0), holder("hc", "c", 1.0)],
        now=5.0,
        quotas={"c": Quota(cpus=1.0)},
    )
    assert found.starts == ["next"]
    assert found.reasons == {
        "big": "waiting for 6 CPUs; 2 free; held by h, hc, next",
        "huge": "waiting for a larger cluster: needs 9 CPUs, it has 8",
        "chained": "waiting for job-1, job-2 to succeed",
        "capped": "waiting for the quota of 1 CPUs of tenant 'c': 1 held, needs 1",
        "behind": "2. of its tenant's line, behind capped",
    }
