"""The RolloutEngine port on vLLM, in this process. The only file that imports vllm.

Token ids go in and come out, never text. vLLM's engine, scheduler and worker all run in this process,
so that tensors reach the worker without a copy and nothing is left behind when the process dies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerBase,
)

from rlhf_service.errors import EngineUnavailable, WeightsCorrupt, WeightsUnavailable
from rlhf_service.models.digest import digests
from rlhf_service.models.precision import dtype_of
from rlhf_service.models.tokenizer import load_tokenizer
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import FinishReason, Prompt, Rollout
from rlhf_service.rollout.memory import Kept, Memory, Shared
from rlhf_service.rollout.transformers import eos_ids
from rlhf_service.spec.learner import Precision
from rlhf_service.spec.ppo import SamplingSpec
from rlhf_service.spec.rollout import CACHE_GIB, VllmEngineSpec

ENVIRONMENT = {
    # One process: see above.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # As many threads as the job gives the actor; vLLM would take every core.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


class VllmEngine:
    """Samples from one version of the policy with vLLM.

    Log-probs are those of the softmax at the sampling temperature over the whole vocabulary; of greedy
    responses (evaluation alone has them) at temperature 1.
    """

    def __init__(
        self,
        llm: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        eos: frozenset[int],
        names: frozenset[str],
        memory: Memory,
    ) -> None:
        self._llm, self._tokenizer, self._eos, self._names = llm, tokenizer, eos, names
        self._memory = memory
        self._longest = int(llm.llm_engine.model_config.max_model_len)
        self.version: int | None = None

    def load_weights(self, snapshot: WeightSnapshot) -> None:
        """Take over `snapshot` in place, after checking that what arrived is what was published."""
        self.version = None  # half-loaded weights must never serve
        check_arrived(snapshot, self._names)
        self._memory.take()
        try:
            self._llm.collective_rpc("take_over", args=(snapshot.tensors,))
        except Exception as fault:
            raise WeightsCorrupt(
                f"version {snapshot.version}: vLLM could not take the weights over ({fault}); they "
                "are fetched again"
            ) from fault
        # Keys and values of the old weights answer no prompt of the new.
        self._llm.reset_prefix_cache()
        self.version = snapshot.version

    def generate(
        self, prompts: Sequence[Prompt], sampling: SamplingSpec, *, version: int, seed: int
    ) -> list[Rollout]:
        from vllm import SamplingParams, TokensPrompt

        if self.version != version:
            raise WeightsUnavailable(
                f"this engine serves version {self.version}, not {version}; load_weights first"
            )
        if not prompts:
            return []
        longest = max(len(prompt.token_ids) for prompt in prompts) + sampling.max_new_tokens
        if longest > self._longest:
            raise EngineUnavailable(
                f"a prompt with its response may have {longest} tokens, and vLLM holds "
                f"{self._longest} of them; raise it, or ask for shorter ones",
                "rollout.engine.max_length",
            )
        self._memory.take()
        answers = self._llm.generate(
            [TokensPrompt(prompt_token_ids=list(prompt.token_ids)) for prompt in prompts],
            [
                SamplingParams(
                    temperature=0.0 if sampling.greedy else sampling.temperature,
                    max_tokens=sampling.max_new_tokens,
                    seed=stream_of(seed, prompt),
                    stop_token_ids=sorted(self._eos),
                    logprobs=0,  # of the drawn token alone
                    detokenize=False,
                )
                for prompt in prompts
            ],
            use_tqdm=False,
        )
        self._memory.give()
        began = min(answer.metrics.queued_ts for answer in answers)
        return [
            self._rollout(prompt, answer.outputs[0], version, answer.metrics.last_token_ts - began)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def _rollout(self, prompt: Prompt, answer: Any, version: int, seconds: float) -> Rollout:
        token_ids = tuple(answer.token_ids)
        return Rollout(
            prompt=prompt,
            token_ids=token_ids,
            logprobs=tuple(
                found[token].logprob
                for token, found in zip(token_ids, answer.logprobs, strict=True)
            ),
            text=str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True)),
            finish_reason=(FinishReason.EOS if token_ids[-1] in self._eos else FinishReason.LENGTH),
            policy_version=version,
            seconds=seconds,
        )


class TakesOver:
    """What vLLM's worker gains: new weights in place, under the names of a checkpoint."""

    model_runner: Any

    def take_over(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.model_runner.reload_weights(weights_iterator=iter(tensors.items()))


def build_vllm(
    spec: VllmEngineSpec, model: Path, precision: Precision, device: str, threads: int
) -> VllmEngine:
    """An engine with unset weights: it serves once `load_weights` gave it a version.

    Raises EngineUnavailable.
    """
    os.environ.update(ENVIRONMENT)
    if not spec.compile:
        # Small functions of the sampler would be compiled all the same, for tens of seconds.
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
    try:
        from vllm import LLM
    except ImportError as fault:
        raise EngineUnavailable(
            f"vLLM cannot be imported here ({fault}); have RLHF_VLLM_PYTHON name the python of an "
            "environment that has it (make vllm builds one), or draw with {type: transformers}",
            "rollout.engine",
        ) from None
    config = AutoConfig.from_pretrained(model, local_files_only=True)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    if (model / "generation_config.json").exists():
        network.generation_config = GenerationConfig.from_pretrained(model, local_files_only=True)
    tokenizer = load_tokenizer(model)
    gib = CACHE_GIB if spec.cache_gib is None and device == "cpu" else spec.cache_gib
    torch.set_num_threads(threads)
    colocated = spec.placement == "colocated"
    try:
        llm = LLM(
            str(model),
            hf_overrides={"architectures": [type(network).__name__]},
            load_format="dummy",
            dtype=str(dtype_of(precision)).removeprefix("torch."),
            skip_tokenizer_init=True,
            generation_config="vllm",  # no penalties or truncation that the trainer knows nothing of
            logprobs_mode="processed_logprobs",
            disable_log_stats=False,  # when each response ended is among them
            max_model_len=spec.max_length,
            max_num_seqs=spec.max_sequences,
            kv_cache_memory_bytes=None if gib is None else int(gib * 2**30),
            gpu_memory_utilization=spec.gpu_memory,
            enforce_eager=not spec.compile,
            enable_sleep_mode=colocated,
            worker_extension_cls=f"{__name__}.{TakesOver.__name__}",
        )
    except (ValueError, RuntimeError, AssertionError) as fault:
        raise EngineUnavailable(
            f"vLLM does not start with this model and these settings: {last_line(fault)}; change "
            "them, or draw with {type: transformers}",
            "rollout.engine",
        ) from fault
    return VllmEngine(
        llm,
        tokenizer,
        eos=frozenset(eos_ids(network, tokenizer)),
        names=frozenset(network.state_dict()),
        memory=Shared(llm) if colocated else Kept(),
    )


def check_arrived(snapshot: WeightSnapshot, names: frozenset[str]) -> None:
    """Every weight of the network is there, and as it was published. Raises WeightsCorrupt."""
    missing = sorted(names - snapshot.tensors.keys())
    if missing:
        raise WeightsCorrupt(
            f"version {snapshot.version}: {len(missing)} tensors are missing, first {missing[0]}; "
            "the weights are fetched again"
        )
    found = digests(snapshot.tensors)
    wrong = [name for name in found if found[name] != snapshot.digests.get(name)]
    if wrong:
        raise WeightsCorrupt(
            f"version {snapshot.version}: {len(wrong)} tensors differ from the published digests, "
            f"first {wrong[0]}; the weights are fetched again"
        )


def stream_of(seed: int, prompt: Prompt) -> int:
    """Seed of a response's own draws, a function of (seed, position, sample)."""
    key = f"{seed}/{prompt.position}/{prompt.sample}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1


def last_line(fault: BaseException) -> str:
    """What an exception says in the end."""
    return (str(fault).strip().splitlines() or [type(fault).__name__])[-1][:300]
