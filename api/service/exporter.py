"""Checkpoints as model folders, written by a process of their own: torch is loaded there."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from api.service.child import Broke, answer_of
from api.service.faults import BadParameter, GenerationFailed
from api.service.generator import KEPT
from api.settings import Settings
from rlhf_service.storage import JobFolder

log = logging.getLogger("rlhf.api")


class Exporter:
    """One export at a time; each is done once and kept beside the job's checkpoints."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._one = asyncio.Lock()

    async def folder(self, job: JobFolder, checkpoint: str) -> Path | None:
        """Where the checkpoint's model lies; None when there is no such checkpoint. Raises
        BadParameter for one that is no model, GenerationFailed when it cannot be written.
        """
        made = job.checkpoint_model(checkpoint)
        if not made.is_dir():
            if not (job.checkpoints / checkpoint).is_dir():
                return None
            async with self._one:
                await self._export(job, checkpoint)
        return made

    async def _export(self, job: JobFolder, checkpoint: str) -> None:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu"}
        environment |= {"OMP_NUM_THREADS": str(self.settings.generation_threads)}
        seconds = self.settings.generation_timeout
        arguments = ("rlhf_service.checkpoint_model", str(job.root), checkpoint)
        try:
            answer = await answer_of(*arguments, seconds=seconds, environment=environment)
        except TimeoutError:
            raise GenerationFailed(f"the checkpoint was not written within {seconds:g} s") from None
        except Broke as fault:
            log.error("checkpoint %s: %s", checkpoint, fault)
            text = "the checkpoint cannot be made a model; the server's log says why"
            raise GenerationFailed(text) from None
        if "fault" in answer:
            raise BadParameter(f"model: {answer['fault']}", "model")
