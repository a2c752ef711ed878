"""How a driver is started, on whatever cluster: its command, its environment, its secret."""

from __future__ import annotations

import shlex
from pathlib import Path

from rlhf_service.launching import LaunchRequest
from rlhf_service.storage import JobFolder, write_private

DRIVER_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    # Waiting threads spin for some tens of microseconds, then sleep: idle processes of the job
    # leave the cores to the busy one, and a parallel region still starts at once.
    "GOMP_SPINCOUNT": "30000",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
}


def driver_command(python: str, request: LaunchRequest) -> str:
    """What Ray hands to a shell."""
    return shlex.join(
        [
            *(python, "-m", "cluster.driver"),
            *("--job", request.storage, "--attempt", str(request.attempt)),
        ]
    )


def driver_environment(request: LaunchRequest) -> dict[str, str]:
    """Variables of the driver. Anyone who may see the cluster may read them: no secrets."""
    return {
        **DRIVER_ENVIRONMENT,
        **request.environment,
        "RLHF_EVENTS_URL": request.events_url,
        "RLHF_EVENTS_TOKEN_FILE": str(token_file(request)),
    }


def token_file(request: LaunchRequest) -> Path:
    """Where the driver finds the token for its events."""
    return JobFolder(Path(request.storage)).token(request.attempt)


def leave_token(request: LaunchRequest) -> None:
    """Put the token there, for this user's eyes only."""
    write_private(token_file(request), request.events_token)
