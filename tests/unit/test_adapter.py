"""Low-rank adapters: what learns, what is published, what the merged model says."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from rlhf_service.errors import ModelError
from rlhf_service.events import StepCompleted
from rlhf_service.models.build import build_scratch
from rlhf_service.models.heads import RewardModel
from rlhf_service.models.load import load_causal_lm
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.reports import deterministic_part
from rlhf_service.spec import JobSpec, ScratchModel
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.testing import InProcessChannel, LocalPools
from tests.small import stopped_and_resumed

LORA = {"rank": 2, "alpha": 4}


@pytest.fixture(params=["llama", "gpt2"])
def base(request, tmp_path):
    """A model folder."""
    tokenizer = train_tokenizer(["a good film", "a bad film"] * 4, 300)
    spec = ScratchModel(
        architecture=request.param, hidden_size=16, num_layers=2, num_heads=2, context_length=64
    )
    folder = tmp_path / "base"
    build_scratch(spec, tokenizer, 3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def job(base, corpus, *stages: dict, **learner) -> JobSpec:
    common = {"max_length": 16, "batch_size": 4, "steps": 2, "optimizer": {"learning_rate": 0.02}}
    sources = {"sft": "completions", "reward": "pairs", "dpo": "pairs"}
    given = []
    for stage in stages:
        if stage["type"] in sources:
            path = {"path": corpus[sources[stage["type"]]]}
            given.append(common | {"data": path, "adapter": LORA} | stage)
        else:
            given.append(ppo(corpus) | stage)
    return JobSpec.model_validate(
        {
            "model": {"type": "folder", "path": str(base)},
            "stages": given,
            "learner": {"micro_batch_size": 2} | learner,
            "checkpoint": {"every": 1},
        }
    )


def ppo(corpus) -> dict:
    return {
        "adapter": LORA,
        "prompts": {"path": corpus["prompts"]},
        "reward": {"type": "length", "target": 4},
        "steps": 3,
        "prompts_per_step": 2,
        "samples_per_prompt": 2,
        "max_prompt_length": 16,
        "sampling": {"max_new_tokens": 6},
        "optimizer": {"learning_rate": 0.02},
        "critic_optimizer": {"learning_rate": 0.02},
    }


class RecordingPools(LocalPools):
    """Keeps what was published."""

    def __init__(self) -> None:
        super().__init__()
        self.channel = InProcessChannel()

    def weights(self, max_staleness: int) -> InProcessChannel:
        return self.channel


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 9, 12, 40, 7]])).logits


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_ppo_publishes_adapters_and_leaves_a_merged_model(
    base, corpus, make_context, tmp_path, layout
):
    pools = RecordingPools()
    spec = job(base, corpus, {"type": "ppo"}, layout=layout)
    context = make_context(spec, tmp_path / "job", pools=pools)
    run_pipeline(context)

    reports = [e.report for e in context.sink.events if isinstance(e, StepCompleted)]
    assert abs(reports[0].kl) < 1e-6  # the reference is the policy without its adapter
    assert abs(reports[-1].kl) > 1e-4
    assert reports[-1].critic_grad_norm > 0
    last = pools.channel.fetch(4)
    assert last.tensors and all(".lora_" in name for name in last.tensors)

    before, after = (
        load_causal_lm(base, torch.float32),
        load_causal_lm(context.folder.model, torch.float32),
    )
    assert (logits(before) - logits(after)).abs().max() > 1e-3
    kept = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), context.folder.adapter("ppo")
    )
    torch.testing.assert_close(logits(kept), logits(after), rtol=0, atol=1e-5)
    # Nothing but the adapter's own layers moved.
    embeddings = [m.get_input_embeddings().weight for m in (before, after)]
    assert torch.equal(*embeddings)


def test_checkpoints_hold_adapters_and_resume_with_the_same_numbers(
    base, corpus, make_context, tmp_path
):
    spec = job(base, corpus, {"type": "sft"}, {"type": "ppo"})
    whole = make_context(spec, tmp_path / "whole")
    run_pipeline(whole)

    halted, resumed = stopped_and_resumed(make_context, spec, tmp_path / "halted", ("ppo", 2))

    def steps(*contexts):
        events = [e for c in contexts for e in c.sink.events if isinstance(e, StepCompleted)]
        return {(e.stage, e.step): deterministic_part(e.report) for e in events}

    assert steps(whole) == steps(halted, resumed)
    one, other = (load_causal_lm(c.folder.model, torch.float32) for c in (whole, resumed))
    assert torch.equal(logits(one), logits(other))


def test_reward_model_and_dpo_with_an_adapter(base, corpus, make_context, tmp_path):
    spec = job(
        base,
        corpus,
        {"type": "reward"},
        {"type": "dpo"},
        {
            "type": "ppo",
            "reward": {"type": "reward_model", "model": {"type": "stage", "stage": "reward"}},
            "critic": {"type": "stage", "stage": "reward"},
        },
    )
    context = make_context(spec, tmp_path / "job")
    run_pipeline(context)
    folder = context.folder.stage_model("reward")
    scorer = RewardModel.load(folder)
    assert not any(".lora_" in name for name in scorer.state_dict())
    assert not list(folder.glob("adapter*"))
    trunk = load_causal_lm(base, torch.float32).base_model.state_dict()
    moved = [
        name
        for name, tensor in scorer.classifier.base_model.state_dict().items()
        if not torch.equal(tensor, trunk[name])
    ]
    assert moved


def test_adapter_needs_a_network_with_weights(base, corpus):
    with pytest.raises(ValidationError, match=r"stages\[0\]\.adapter: a network from scratch"):
        JobSpec.model_validate(
            json.loads(job(base, corpus, {"type": "ppo"}).model_dump_json())
            | {"model": {"type": "scratch"}}
        )


def test_layers_that_the_network_lacks_are_named(base, corpus, make_context, tmp_path):
    lora = LORA | {"targets": ["no_such_layer"]}
    spec = job(base, corpus, {"type": "sft", "adapter": lora})
    with pytest.raises(ModelError, match=r"no_such_layer.*adapter\.targets"):
        run_pipeline(make_context(spec, tmp_path / "job"))
