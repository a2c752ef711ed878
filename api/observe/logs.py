"""Log lines, ours and uvicorn's: text for people or one JSON object a line, with request and job."""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Any

from api.observe.context import job_id, request_id
from api.settings import Settings

PLAIN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message", "asctime", "request_id", "job_id", "color_message", "about", "taskName"
}  # fmt: skip
"""Attributes of every record; others came as `extra` and belong in the JSON."""


class Context(logging.Filter):
    """Adds the request and the job at hand to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        known = {"request_id": request_id.get(), "job_id": job_id.get()}
        words = " ".join(word for word in known.values() if word)
        vars(record).update(known, about=f" [{words}]" if words else "")
        return True


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, request_id, job_id, and what was `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "job_id"):
            if (value := getattr(record, name, None)) is not None:
                said[name] = value
        # Libraries mark records for themselves, Ray each one, under names with an underscore.
        said |= {
            name: value
            for name, value in vars(record).items()
            if name not in PLAIN and not name.startswith("_")
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str, ensure_ascii=False)


def log_config(settings: Settings) -> dict[str, Any]:
    """For `logging.config.dictConfig`, and for uvicorn as its `log_config`."""
    formatters: dict[str, Any] = {
        "json": {"()": JsonFormatter},
        "text": {"format": "%(asctime)s %(levelname)-7s %(name)s%(about)s %(message)s"},
    }
    handler = {
        "class": "logging.StreamHandler",
        "formatter": settings.log_format,
        "filters": ["context"],
        "stream": "ext://sys.stderr",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"context": {"()": Context}},
        "formatters": formatters,
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "rlhf": {"level": settings.log_level.upper()},
            "uvicorn": {"level": settings.log_level.upper()},
        },
    }
