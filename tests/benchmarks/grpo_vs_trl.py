"""GRPO here against TRL 1.16's: the same model, prompts, reward, groups, lengths and threads.

    make peers    # once: TRL in environments of its own
    python -m tests.benchmarks.grpo_vs_trl [--steps 8] [--precision fp32|bf16]

As `ppo_vs_trl`, on its realistic workload. `--precision` is TRL's: run both and compare with the
quicker, as bf16 pays on some processors only. TRL may pass through 16 rows at a time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.peers.build import build_realistic
from tests.benchmarks.peers.compare import ROOT, compared
from tests.benchmarks.peers.workload import Prepared
from tests.benchmarks.ppo_vs_trl import workload

PEER = ROOT / ".venv-peers-grpo" / "bin" / "python"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--peer", type=Path, default=PEER, help="python of TRL's environment")
    parser.add_argument("--keep", type=Path, help="folder for the workload and the logs")
    args = parser.parse_args()
    wanted = workload("realistic", args.threads, args.device)
    wanted = replace(
        wanted,
        method="grpo",
        prompts_per_step=wanted.prompts_per_step // 4,
        samples_per_prompt=4,
        epochs=1,
        kl_coef=0.04,
    )
    with tempfile.TemporaryDirectory() as place:
        prepared = Prepared((args.keep or Path(place)) / "realistic")
        if prepared.model.exists():
            prepared.write(wanted, prepared.prompts())
        else:
            prepared = build_realistic(wanted, prepared.folder)
        peer = [str(args.peer), "-m", "tests.benchmarks.peers.trl_grpo", args.precision]
        row = compared(prepared, peer, args.steps, networks=1)
        print(json.dumps({"benchmark": "grpo_vs_trl", "peer_precision": args.precision, **row}))


if __name__ == "__main__":
    main()
