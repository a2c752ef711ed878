"""TRL 1.16's GRPOTrainer as the other side. Runs in an environment of its own (`make peers`).

python -m tests.benchmarks.peers.trl_grpo WORKLOAD-FOLDER
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer

from tests.benchmarks.peers.lockstep import Turns
from tests.benchmarks.peers.trl_turn import Stopwatch, Turn, load_tokenizer
from tests.benchmarks.peers.workload import Prepared, Workload


def main(folder: Path) -> None:
    turns, prepared = Turns(), Prepared(folder)
    workload = prepared.workload()
    torch.set_num_threads(workload.threads)
    tokenizer = load_tokenizer(prepared.model)
    watch = Stopwatch(tokenizer.eos_token_id)
    policy = AutoModelForCausalLM.from_pretrained(prepared.model, dtype=torch.float32)
    policy.generate = watch.timed(policy.generate)

    def judged(completion_ids, **rest):
        return watch.score([list(ids) for ids in completion_ids])

    texts = [tokenizer.decode(ids) for ids in prepared.prompts()]
    with tempfile.TemporaryDirectory() as place:
        trainer = GRPOTrainer(
            args=settings(workload, place),
            processing_class=tokenizer,
            model=policy,
            reward_funcs=judged,
            train_dataset=Dataset.from_list([{"prompt": text} for text in texts]),
            callbacks=[Turn(turns, watch)],
        )
        turns.say(ready=True, parameters=sum(p.numel() for p in policy.parameters()))
        trainer.train()


def settings(workload: Workload, place: str) -> GRPOConfig:
    passes = workload.responses // workload.micro_batch
    return GRPOConfig(
        output_dir=place,
        report_to="none",
        use_cpu=workload.device == "cpu",
        bf16=workload.peer_precision == "bf16",
        seed=workload.seed,
        save_strategy="no",
        disable_tqdm=True,
        max_steps=10_000,
        per_device_train_batch_size=workload.micro_batch,
        gradient_accumulation_steps=passes,
        steps_per_generation=passes,
        gradient_checkpointing=False,
        num_generations=workload.samples_per_prompt,
        num_iterations=workload.epochs,
        max_completion_length=workload.limit,
        temperature=1.0,
        learning_rate=workload.learning_rate,
        lr_scheduler_type="constant",
        adam_epsilon=1e-5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        beta=workload.kl_coef,
        loss_type="grpo",
        epsilon=0.2,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
