"""TRL 0.24's PPOTrainer as the other side. Runs in TRL's own environment (`make peers`).

python -m tests.benchmarks.peers.trl_ppo WORKLOAD-FOLDER
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from trl import PPOConfig, PPOTrainer
from trl.trainer import ppo_trainer

from tests.benchmarks.peers.lockstep import Turns
from tests.benchmarks.peers.trl_turn import Stopwatch, Turn, load_tokenizer
from tests.benchmarks.peers.workload import Prepared, Workload


class Rule(torch.nn.Module):
    """Stands where TRL wants a reward model; `judge` knows it."""


def judge(watch: Stopwatch):
    """TRL's `get_reward`, by the rule where the model is the rule."""
    network_reward = ppo_trainer.get_reward

    def judged(model, query_responses, pad, context_length):
        if not isinstance(model, Rule):
            return network_reward(model, query_responses, pad, context_length)
        answers = [
            [token for token in row if token != pad]
            for row in query_responses[:, context_length:].tolist()
        ]
        return None, torch.tensor(watch.score(answers), device=query_responses.device), None

    return judged


def main(folder: Path) -> None:
    turns, prepared = Turns(), Prepared(folder)
    workload = prepared.workload()
    torch.set_num_threads(workload.threads)
    torch.manual_seed(workload.seed)
    tokenizer = load_tokenizer(prepared.model)
    watch = Stopwatch(tokenizer.eos_token_id)
    ppo_trainer.get_reward = judge(watch)
    ppo_trainer.batch_generation = watch.timed(ppo_trainer.batch_generation)
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(prepared.model, dtype=torch.float32) for _ in range(2)
    )
    value = AutoModelForSequenceClassification.from_pretrained(
        prepared.model, num_labels=1, dtype=torch.float32
    )
    prompts = Dataset.from_list([{"input_ids": ids} for ids in prepared.prompts()])
    with tempfile.TemporaryDirectory() as place:
        trainer = PPOTrainer(
            args=settings(workload, place),
            processing_class=tokenizer,
            model=policy,
            ref_model=reference,
            reward_model=Rule(),
            value_model=value,
            train_dataset=prompts,
            eval_dataset=prompts.select(range(workload.prompts_per_step)),
            callbacks=[Turn(turns, watch)],
        )
        turns.say(ready=True, parameters=sum(p.numel() for p in policy.parameters()))
        trainer.train()


def settings(workload: Workload, place: str) -> PPOConfig:
    return PPOConfig(
        output_dir=place,
        report_to="none",
        use_cpu=workload.device == "cpu",
        bf16=workload.peer_precision == "bf16",
        seed=workload.seed,
        save_strategy="no",
        num_sample_generations=0,
        disable_tqdm=True,
        total_episodes=workload.responses * 10_000,
        num_ppo_epochs=workload.epochs,
        num_mini_batches=1,
        per_device_train_batch_size=workload.micro_batch,
        # It applies gradients once so many passes, whatever the number of minibatches.
        gradient_accumulation_steps=workload.responses // workload.micro_batch,
        local_rollout_forward_batch_size=workload.responses,
        response_length=workload.limit,
        stop_token="eos",
        temperature=1.0,
        learning_rate=workload.learning_rate,
        lr_scheduler_type="constant",
        adam_epsilon=1e-5,
        kl_coef=workload.kl_coef,
        cliprange=0.2,
        cliprange_value=0.2,
        vf_coef=0.1,
        gamma=1.0,
        lam=0.95,
        whiten_rewards=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
