"""The rollout engines side by side: vLLM, this project's own, and transformers' `generate`.

    make vllm    # once: vLLM in an environment of its own
    python -m tests.benchmarks.engines [--workload realistic|instruct] [--precision fp32] [--rounds 3]

All three take turns in one process of vLLM's environment, on the same network and prompts, at
temperature 1. **realistic** is the workload of `generation.py`; **instruct** is SmolLM2-135M-Instruct
asked for things of very unlike lengths, at most 192 tokens each. Prints one JSON line: response tokens
a second of each (of CPU time and of the clock; medians), and what vLLM took to start.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from rlhf_service.models.tokenizer import load_tokenizer
from rlhf_service.recipes.instruct.model import prepare_model
from tests.benchmarks.peers.build import build_realistic
from tests.benchmarks.peers.compare import ROOT
from tests.benchmarks.peers.workload import Prepared, Workload

VLLM = ROOT / ".venv-vllm" / "bin" / "python"
LIMITS = {"realistic": 64, "instruct": 192}
ASKED = (
    "Answer with one word: what is the capital of France?",
    "Is water wet? Say yes or no.",
    "Name a colour.",
    "Write one sentence about the sea.",
    "Give me three tips for sleeping well.",
    "Explain in two sentences why the sky is blue.",
    "Tell a story about a lost dog.",
    "Write a long letter to a friend about a journey by train.",
)


def build_instruct(workload: Workload, folder: Path) -> Prepared:
    """Each question as often as it takes, by the model's chat template."""
    prepared = Prepared(folder)
    prepared.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(prepare_model(prepared.model))
    asked = [ASKED[i % len(ASKED)] for i in range(workload.prompts_per_step)]
    talks = [[{"role": "user", "content": text}] for text in asked]
    texts = [
        tokenizer.apply_chat_template(t, add_generation_prompt=True, tokenize=False) for t in talks
    ]
    prepared.write(workload, [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts])
    return prepared


BUILD: Mapping[str, Callable[[Workload, Path], Prepared]] = {
    "realistic": build_realistic,
    "instruct": build_instruct,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", choices=BUILD, default="realistic")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="let vLLM compile the network")
    parser.add_argument("--vllm", type=Path, default=VLLM, help="python of vLLM's environment")
    parser.add_argument("--keep", type=Path, help="folder for the workload")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        prepared = Prepared((args.keep or Path(place)).resolve() / args.workload)
        wanted = workload(args.workload, args.prompts, args.threads)
        if not (prepared.folder / "prompts.json").exists():
            prepared = BUILD[args.workload](wanted, prepared.folder)
        prepared.write(wanted, prepared.prompts())
        command = [str(args.vllm), "-m", "tests.benchmarks.peers.engines", str(prepared.folder)]
        command += ["--precision", args.precision, "--rounds", str(args.rounds)]
        command += ["--compile"] if args.compile else []
        settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(args.threads)}
        done = subprocess.run(
            command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True
        )
        told = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps({"benchmark": "engines", "workload": args.workload, **told}))


def workload(name: str, prompts: int, threads: int) -> Workload:
    return Workload(
        name=name,
        method="ppo",
        prompts_per_step=prompts,
        samples_per_prompt=1,
        limit=LIMITS[name],
        epochs=1,
        micro_batch=32,
        learning_rate=1e-4,
        kl_coef=0.05,
        threads=threads,
        seed=0,
    )


if __name__ == "__main__":
    main()
