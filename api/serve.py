"""Run the control plane: `python -m api.serve`, configured by RLHF_ variables."""

from __future__ import annotations

import socket
import sys

import uvicorn
from pydantic import ValidationError

from api.main import create_app
from api.observe.logs import log_config
from api.services import Services
from api.settings import Settings
from rlhf_service.errors import RlhfError
from rlhf_service.launching import JobLauncher


class Server(uvicorn.Server):
    """Stops in order: says that it is not ready, asks streams to reconnect, lets requests finish
    within `shutdown_grace`; then the loops end and give their leases back.
    """

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._services.drain()
        await super().shutdown(sockets)


def server(settings: Settings, launcher: JobLauncher | None = None) -> Server:
    """The application behind uvicorn."""
    app = create_app(settings, launcher)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=log_config(settings),
        access_log=False,  # ours says more
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
    )
    return Server(config, app.state.services)


def main() -> int:
    try:
        server(Settings()).run()
    except ValidationError as fault:
        for error in fault.errors():
            name = ".".join(str(part) for part in error["loc"]).upper()
            print(f"error: RLHF_{name}: {error['msg']}", file=sys.stderr)
        return 2
    except RlhfError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
