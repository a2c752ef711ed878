"""Removes what a job left on the cluster: named actors and placement groups that outlived it.

    python -m cluster.broom --job JOB --actor=ID … --group=ID …

Exactly those: a name may be another actor's by now. Started by the launcher as a Ray job.
"""

from __future__ import annotations

import argparse
import logging

import ray
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup, remove_placement_group

log = logging.getLogger("rlhf.broom")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    parser = argparse.ArgumentParser(description="Remove what a job left on this Ray cluster.")
    parser.add_argument("--job", required=True)
    parser.add_argument("--actor", action="append", default=[], help="id of an actor to kill")
    parser.add_argument("--group", action="append", default=[], help="id of a placement group")
    args = parser.parse_args()
    ray.init(address="auto", log_to_driver=False)
    actors = kill_actors(args.job, set(args.actor))
    groups = remove_groups(args.group)
    log.info("%s: %d actors and %d placement groups removed", args.job, actors, groups)
    return 0


def kill_actors(job: str, ids: set[str]) -> int:
    """Kill those of the ids that still carry one of the job's names."""
    killed = 0
    for found in ray.util.list_named_actors(all_namespaces=True):
        if not found["name"].startswith(f"rlhf/{job}/"):
            continue
        try:
            actor = ray.get_actor(found["name"], namespace=found["namespace"])
        except ValueError:
            continue  # gone meanwhile
        if actor._actor_id.hex() in ids:
            ray.kill(actor, no_restart=True)
            killed += 1
    return killed


def remove_groups(ids: list[str]) -> int:
    for group in ids:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))
    return len(ids)


if __name__ == "__main__":
    raise SystemExit(main())
