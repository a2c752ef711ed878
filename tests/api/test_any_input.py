"""No input, however odd, is answered with a fault of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from api.settings import Settings
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.world import JSON, Driver, World, running, started

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.just("\0")
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
quick = effort(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(item, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def test_jobs(settings: Settings) -> None:
    with asyncio.Runner() as runner:
        entered = running(settings, FakeLauncher())
        world: World = runner.run(entered.__aenter__())
        labels = {"a": "b"}

        @quick
        @given(st.data())
        def attack(data: st.DataObject) -> None:
            spec = world.spec(labels=labels, seed=1, resources={"learner": {"num_workers": 1}})
            spec = replaced(spec, data.draw(st.sampled_from(places(spec))), data.draw(anything))
            answer = runner.run(world.client.post("/v1/jobs", json=spec))
            assert answer.status_code in (201, 400, 422), answer.text
            if answer.status_code != 201:
                assert answer.json()["error"]["message"]

        attack()
        runner.run(entered.__aexit__(None, None, None))


def test_events(settings: Settings) -> None:
    with asyncio.Runner() as runner:
        entered = running(settings, FakeLauncher())
        world: World = runner.run(entered.__aenter__())
        job_id = runner.run(world.submit())["id"]
        runner.run(world.turn())
        driver = Driver(world, f"{job_id}-a1")

        @quick
        @given(st.data())
        def attack(data: st.DataObject) -> None:
            record: JSON = driver.record(started())
            place = data.draw(st.sampled_from(places(record)))
            answer = runner.run(driver.post(replaced(record, place, data.draw(anything))))
            assert answer.status_code in (200, 400, 422), answer.text

        attack()
        runner.run(world.history(job_id))  # still without gaps
        runner.run(entered.__aexit__(None, None, None))


@pytest.mark.parametrize("wrong", [-1, -(2**31) - 1, 2**31, 2**63, -65319172603840192.0, 1e300])
def test_numbers_of_events_are_what_a_database_holds(settings: Settings, wrong: float) -> None:
    async def attack() -> None:
        async with running(settings, FakeLauncher()) as world:
            job_id = (await world.submit())["id"]
            await world.turn()
            driver = Driver(world, f"{job_id}-a1")
            for place in (("event", "steps"), ("event", "from_step"), ("producer_seq",)):
                answer = await driver.post(replaced(driver.record(started()), place, wrong))
                assert answer.status_code == 422, answer.text
                assert place[-1] in answer.json()["error"]["param"]
            assert (await driver.post(driver.record(started()))).status_code == 200

    asyncio.run(attack())


@pytest.mark.parametrize("odd", ["%00", "a%00b", "%ff", "..%2f..", "x" * 300, "9" * 5000])
def test_addresses(settings: Settings, odd: str) -> None:
    async def attack() -> None:
        async with running(settings, FakeLauncher()) as world:
            job_id = (await world.submit())["id"]
            for path in (
                f"/v1/jobs/{odd}",
                f"/v1/models/{odd}",
                f"/v1/jobs?after={odd}",
                f"/v1/jobs?label={odd}={odd}",
                f"/v1/jobs/{job_id}/events?after={odd}",
                f"/v1/jobs/{job_id}/logs?attempt={odd}",
                f"/v1/jobs/{job_id}/metrics?stage={odd}",
                f"/web/{odd}",
            ):
                answer = await world.client.get(path)
                assert answer.status_code < 500, (path, answer.text)
            headers = {"last-event-id": odd}
            answer = await world.client.get(f"/v1/jobs/{job_id}/stream", headers=headers)
            assert answer.status_code == 400

    asyncio.run(attack())
