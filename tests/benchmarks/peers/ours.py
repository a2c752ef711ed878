"""This project's side: one rank, its networks under DeepSpeed, everything in one process.

python -m tests.benchmarks.peers.ours WORKLOAD-FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("LOCAL_RANK", "0")  # DS_ACCELERATOR is given by whoever starts this

import torch
import torch.distributed as dist

from rlhf_service.algorithms.rewards import RunningMoments
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import PromptRow
from rlhf_service.learner.backend import BACKENDS
from rlhf_service.learner.deepspeed import DeepSpeedEngines
from rlhf_service.ledger import PromptLedger
from rlhf_service.prompts import PromptSource
from rlhf_service.spec import (
    DataSpec,
    FolderModel,
    JobSpec,
    LearnerSpec,
    OptimizerSpec,
    SamplingSpec,
)
from rlhf_service.spec.stages import PpoStage
from rlhf_service.stages.assembly import build_learner, build_run, shape_folder
from rlhf_service.stages.start import start
from rlhf_service.step import PpoRun, PpoState, ppo_step, publish
from rlhf_service.testing import FunctionReward, LocalPools
from tests.benchmarks.peers.build import in_this_process
from tests.benchmarks.peers.lockstep import Turns, peak_bytes
from tests.benchmarks.peers.workload import Prepared, Workload, reward


def main(folder: Path) -> None:
    turns = Turns()
    prepared = Prepared(folder)
    workload = prepared.workload()
    torch.set_num_threads(workload.threads)
    with tempfile.TemporaryDirectory() as place:
        dist.init_process_group(
            BACKENDS[workload.device],
            init_method=f"file://{place}/rendezvous",
            rank=0,
            world_size=1,
        )
        run = build(prepared, Path(place))
        state = PpoState(0, 1, workload.kl_coef, RunningMoments(), PromptLedger())
        publish(run, state.policy_version)
        turns.say(ready=True, parameters=parameters(run))
        while turns.wait():
            used = time.process_time()
            outcome = ppo_step(run, state)
            state, report = outcome.state, outcome.report
            turns.say(
                seconds=report.seconds.total,
                cpu_seconds=time.process_time() - used,
                phases=report.seconds.model_dump(exclude={"total"}),
                response_tokens=round(report.response_length_mean * report.responses),
                sequence_tokens=sum(
                    len(r.prompt.token_ids) + len(r.token_ids) for r in outcome.drawn.rollouts
                ),
                reward=report.score_mean,
                kl=report.kl,
                peak_bytes=peak_bytes(),
            )
        dist.destroy_process_group()


def build(prepared: Prepared, place: Path) -> PpoRun:
    workload = prepared.workload()
    eos = 2
    stage, spec = job(prepared)
    pools = LocalPools(
        FunctionReward(lambda rollout: reward(rollout.token_ids, eos)),
        precision=spec.learner.precision,
        device=workload.device,
        max_sequences=64 if workload.device == "cpu" else workload.responses,
    )
    context = replace(
        in_this_process(spec, place / "job", workload.device),
        engines=DeepSpeedEngines(spec.learner, torch.device(workload.device)),
        pools=pools,
    )
    begun = start(context, stage, list)
    learner = build_learner(context, stage, begun)
    prompts = [tuple(ids) for ids in prepared.prompts()]
    source = PromptSource(
        rows=[PromptRow("", {}) for _ in prompts],
        token_ids=prompts,
        plan=RowPlan(len(prompts), workload.prompts_per_step, workload.seed),
    )
    (prepared.folder / "one-prompt.jsonl").write_text(json.dumps({"prompt": "a"}))
    shape = shape_folder(context, stage, begun)
    run = build_run(context, stage, "stages[0]", begun, learner, shape)
    return replace(run, prompts=source)


def job(prepared: Prepared) -> tuple[PpoStage, JobSpec]:
    workload = prepared.workload()
    adam = OptimizerSpec(learning_rate=workload.learning_rate)
    stage = PpoStage.model_validate(
        {
            "type": workload.method,
            "prompts": DataSpec(path=str(prepared.folder / "one-prompt.jsonl")),
            "reward": {"type": "length", "name": "unused", "target": 1},
            "steps": 10_000,
            "prompts_per_step": workload.prompts_per_step,
            "samples_per_prompt": workload.samples_per_prompt,
            "sampling": SamplingSpec(max_new_tokens=workload.limit),
            "ppo": {"epochs": workload.epochs, "kl": {"coef": workload.kl_coef}},
            "optimizer": adam,
            **({"critic_optimizer": adam} if workload.method == "ppo" else {}),
        }
    )
    spec = JobSpec(
        name="benchmark",
        seed=workload.seed,
        model=FolderModel(path=str(prepared.model)),
        stages=(stage,),
        learner=learner_spec(workload),
    )
    return stage, spec


def learner_spec(workload: Workload) -> LearnerSpec:
    """Parts of the update of about the size that the peer's have."""
    return LearnerSpec.model_validate(
        {"micro_batch_tokens": 128 * workload.micro_batch, "precision": workload.precision}
    )


def parameters(run: PpoRun) -> int:
    return sum(p.numel() for p in run.learner.policy.module.parameters())  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
