"""PPO here against TRL 0.24's: the same model, prompts, reward, batch, epochs, lengths and threads.

    make peers    # once: TRL in environments of its own
    python -m tests.benchmarks.ppo_vs_trl [--workload fixed|realistic] [--steps 8]
        [--precision fp32|bf16] [--peer-precision fp32|bf16]

Both sides take turns, step by step, so that what else the machine does slows both alike. Prints one
JSON line: seconds a step and by phase, peak memory, response tokens, reward and KL of both, the
median of the steps' ratios, and the share of the machine's matrix-product peak that this project's
update reaches. The first step of each is warm-up and left out. bf16 pays on some processors only:
compare with the quicker of the peer's two.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.benchmarks.peers.build import build_fixed, build_realistic
from tests.benchmarks.peers.compare import ROOT, arguments, compared, with_precisions
from tests.benchmarks.peers.workload import Prepared, Workload

PEER = ROOT / ".venv-peers" / "bin" / "python"

BUILD: Mapping[str, Callable[[Workload, Path], Prepared]] = {
    "fixed": build_fixed,
    "realistic": build_realistic,
}


def main() -> None:
    parser = arguments(__doc__, PEER)
    parser.add_argument("--workload", choices=BUILD, default="fixed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        prepared = Prepared((args.keep or Path(place)) / args.workload)
        wanted = with_precisions(workload(args.workload, args.threads, args.device), args)
        if prepared.model.exists():
            prepared.write(wanted, prepared.prompts())
        else:
            prepared = BUILD[args.workload](wanted, prepared.folder)
        peer = [str(args.peer), "-m", "tests.benchmarks.peers.trl_ppo"]
        row = compared(prepared, peer, args.steps, networks=2)
        print(json.dumps({"benchmark": "ppo_vs_trl", **row}))


def workload(name: str, threads: int, device: str = "cpu") -> Workload:
    """On a GPU four times the responses, all of an update's in one pass on both sides, in bf16."""
    on_gpu = device == "cuda"
    return Workload(
        name=name,
        method="ppo",
        prompts_per_step=256 if on_gpu else 64,
        samples_per_prompt=1,
        limit=64,
        epochs=4,
        micro_batch=256 if on_gpu else 16,
        learning_rate=1e-5 if on_gpu else 1e-4,
        kl_coef=0.05,
        threads=threads,
        seed=0,
        device=device,
        precision="bf16" if on_gpu else "fp32",
        peer_precision="bf16" if on_gpu else "fp32",
    )


if __name__ == "__main__":
    main()
