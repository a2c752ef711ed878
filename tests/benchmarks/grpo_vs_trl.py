"""GRPO here against TRL 1.16's: the same model, prompts, reward, groups, lengths and threads.

    make peers    # once: TRL in environments of its own
    python -m tests.benchmarks.grpo_vs_trl [--steps 8] [--precision fp32|bf16]
        [--peer-precision fp32|bf16]

As `ppo_vs_trl`, on its realistic workload. TRL may pass through 16 rows at a time.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.peers.build import build_realistic
from tests.benchmarks.peers.compare import ROOT, arguments, compared, with_precisions
from tests.benchmarks.peers.workload import Prepared
from tests.benchmarks.ppo_vs_trl import workload

PEER = ROOT / ".venv-peers-grpo" / "bin" / "python"


def main() -> None:
    args = arguments(__doc__, PEER).parse_args()
    wanted = with_precisions(workload("realistic", args.threads, args.device), args)
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
        peer = [str(args.peer), "-m", "tests.benchmarks.peers.trl_grpo"]
        row = compared(prepared, peer, args.steps, networks=1)
        print(json.dumps({"benchmark": "grpo_vs_trl", **row}))


if __name__ == "__main__":
    main()
