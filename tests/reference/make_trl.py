"""Figures of TRL on small tensors, for tests/unit/test_against_trl.py.

Runs TRL's own code in an environment of TRL's own (its transformers is older than ours):

    pip install torch==2.13.0 trl==0.24.0 "transformers<5" "accelerate<1.12" "datasets<5"
    python make_trl.py > trl-0.24.0.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import torch
import trl
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import (
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
)


def listed(*tensors: torch.Tensor) -> list:
    return [t.detach().tolist() for t in tensors]


def plain_accelerator() -> SimpleNamespace:
    return SimpleNamespace(
        device=torch.device("cpu"),
        gather=lambda value: value,
        gather_for_metrics=lambda value: value,
    )


def dpo() -> list[dict]:
    """The sigmoid loss, plain and with label smoothing, and its gradient."""
    found = []
    for beta, smoothing in ((0.1, 0.0), (0.5, 0.2)):
        torch.manual_seed(1)
        logps = [(-5 * torch.rand(6)).requires_grad_(i < 2) for i in range(4)]
        trainer = SimpleNamespace(
            accelerator=plain_accelerator(),
            beta=beta,
            label_smoothing=smoothing,
            reference_free=False,
            f_divergence_type="reverse_kl",
            f_divergence_params=None,
            use_weighting=False,
            args=SimpleNamespace(f_alpha_divergence_coef=1.0),
        )
        losses, chosen, rejected = DPOTrainer.dpo_loss(trainer, *logps, loss_type="sigmoid")
        losses.mean().backward()
        found.append(
            {
                "beta": beta,
                "label_smoothing": smoothing,
                "logps": listed(*logps),
                "losses": losses.tolist(),
                "rewards": listed(chosen, rejected),
                "gradient": listed(logps[0].grad, logps[1].grad),
            }
        )
    return found


def reward() -> list[dict]:
    """The Bradley–Terry loss with margins and centring, and its gradient."""
    found = []
    for center in (None, 0.01):
        torch.manual_seed(2)
        scores = (2 * torch.randn(8, 1)).requires_grad_()
        margins = torch.rand(4)
        trainer = MagicMock()
        trainer.model.training = True
        trainer.accelerator = plain_accelerator()
        trainer.args.center_rewards_coefficient = center
        inputs = {"margin": margins, "attention_mask": torch.ones(8, 2)}
        model = MagicMock(return_value=SimpleNamespace(logits=scores))
        loss = RewardTrainer.compute_loss(trainer, model, inputs)
        loss.backward()
        found.append(
            {
                "center_coef": center or 0.0,
                "chosen": scores[:4, 0].tolist(),
                "rejected": scores[4:, 0].tolist(),
                "margins": margins.tolist(),
                "loss": float(loss),
                "gradient": scores.grad[:, 0].tolist(),
            }
        )
    return found


def grpo_loss() -> list[dict]:
    """The clipped loss with a k3 penalty under each aggregation, and its gradient."""
    found = []
    lengths = torch.tensor([5, 2, 4])
    mask = (torch.arange(5) < lengths[:, None]).int()
    for kind, aggregation in (("grpo", "sequence"), ("bnpo", "token"), ("dr_grpo", "fixed")):
        torch.manual_seed(3)
        old, ref = -3 * torch.rand(3, 5), -3 * torch.rand(3, 5)
        new = (old + 0.4 * torch.randn(3, 5)).requires_grad_()
        advantages = torch.tensor([1.5, -0.7, 0.2])
        trainer = MagicMock()
        trainer.loss_type = kind
        trainer.accelerator = plain_accelerator()
        trainer.model.training = True
        trainer.beta, trainer.epsilon_low, trainer.epsilon_high = 0.04, 0.2, 0.28
        trainer.max_completion_length = 8
        trainer.top_entropy_quantile = 1.0
        trainer.importance_sampling_level = "token"
        trainer.use_vllm = False
        trainer.args.delta = None
        trainer.current_gradient_accumulation_steps = 1
        trainer._get_per_token_logps_and_entropies.return_value = (new, torch.zeros(3, 5))
        inputs = {
            "prompt_ids": torch.zeros(3, 1, dtype=torch.long),
            "prompt_mask": torch.ones(3, 1, dtype=torch.long),
            "completion_ids": torch.zeros(3, 5, dtype=torch.long),
            "completion_mask": mask,
            "advantages": advantages,
            "old_per_token_logps": old,
            "ref_per_token_logps": ref,
        }
        loss = GRPOTrainer._compute_loss(trainer, None, inputs)
        loss.backward()
        found.append(
            {
                "aggregation": aggregation,
                "kl_coef": trainer.beta,
                "clip": [0.2, 0.28],
                "limit": 8,
                "lengths": lengths.tolist(),
                "advantages": advantages.tolist(),
                "logprobs": listed(new, old, ref),
                "loss": float(loss),
                "gradient": new.grad.tolist(),
            }
        )
    return found


def advantages(tokenizer_folder: Path) -> list[dict]:
    """What real trainers make of given rewards, four responses a prompt."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    rewards = torch.tensor([[1.0], [0.0], [0.5], [-2.0], [3.0], [3.0], [3.0], [3.5]])
    found = []
    for method, trainer_class, config_class in (
        ("grpo", GRPOTrainer, GRPOConfig),
        ("rloo", RLOOTrainer, RLOOConfig),
    ):
        options = {
            "output_dir": str(tokenizer_folder / method),
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 4,
            "beta": 0.0,
            "use_cpu": True,
            "bf16": False,
            "report_to": [],
        }
        trainer = trainer_class(
            model=LlamaForCausalLM(config),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=config_class(**options),
            train_dataset=Dataset.from_list([{"prompt": "a"}] * 8),
            processing_class=AutoTokenizer.from_pretrained(tokenizer_folder),
        )
        trainer._calculate_rewards = lambda *_, **__: rewards
        made = trainer._generate_and_score_completions([{"prompt": "a"}] * 8)
        found.append(
            {
                "method": method,
                "group": 4,
                "rewards": rewards[:, 0].tolist(),
                "advantages": made["advantages"].tolist(),
            }
        )
    return found


def tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "a": 3} | {f"w{i}": i for i in range(4, 64)}
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="a")),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )
    made.save_pretrained(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        tokenizer(Path(place))
        found = {
            "trl": trl.__version__,
            "dpo": dpo(),
            "reward": reward(),
            "grpo_loss": grpo_loss(),
            "advantages": advantages(Path(place)),
        }
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
