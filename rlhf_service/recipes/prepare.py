"""Writes a recipe's data and prints its job, in a process of its own.

python -m rlhf_service.recipes.prepare RECIPE FOLDER SEED

The control plane asks this way: some recipes build a model with torch, which it must not import.
Prints one JSON object: `{"spec": …}`, or `{"fault": …}` and exit code 1 when the data cannot be had.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rlhf_service.errors import RlhfError
from rlhf_service.recipes.catalogue import RECIPES


def main(name: str, folder: Path, seed: int) -> int:
    """Build recipe `name` in `folder`."""
    try:
        spec = RECIPES[name].build(folder, seed)
    except RlhfError as fault:
        print(json.dumps({"fault": str(fault)}))
        return 1
    print(json.dumps({"spec": spec.model_dump(mode="json")}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
