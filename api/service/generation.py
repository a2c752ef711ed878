"""Text from finished models: a bounded number of processes, each with one model loaded."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from api.openai.chat import JSON, ChatRequest, CompletionRequest, Shape, head, usage
from api.openai.transcript import transcript_of
from api.service.caller import Caller
from api.service.faults import BadParameter, Busy, Fault, NotFound
from api.service.generator import Generator
from api.service.models import Models
from api.service.permissions import Permissions
from api.settings import Settings
from rlhf_service.errors import ModelError
from rlhf_service.generation.protocol import Ask, Reply
from rlhf_service.models.check import Use, check_folder

WAITING = 8
"""Requests that may wait for one model."""


@dataclass(frozen=True, slots=True)
class Started:
    """An answer whose first piece has come, so that a refusal can still be a status."""

    first: Reply
    rest: AsyncGenerator[Reply]

    async def every(self) -> AsyncIterator[Reply]:
        yield self.first
        async for reply in self.rest:
            yield reply


class Generation:
    """What the routes under `/v1/chat` and `/v1/completions` call."""

    def __init__(self, models: Models, permissions: Permissions, settings: Settings) -> None:
        self.models = models
        self.permissions = permissions
        self.settings = settings
        self._generators: dict[Path, Generator] = {}
        self._expiries: dict[Path, asyncio.TimerHandle] = {}

    async def start(self, caller: Caller, request: ChatRequest | CompletionRequest) -> Started:
        """Raises a Fault or UserError naming the parameter."""
        if not self.settings.generation_models:
            raise BadParameter(
                "this service generates no text; its operator may set RLHF_GENERATION_MODELS"
            )
        folder = await self.models.folder(caller, request.model)
        folder = folder or await self.permissions.folder(caller, request.model)
        if folder is None:
            raise NotFound(f"there is no model {request.model!r}", "model")
        await asyncio.to_thread(self._check, folder)
        ask = request.to_ask(await asyncio.to_thread(transcript_of, folder))
        replies = self._replies(folder, ask)
        return Started(await anext(replies), replies)

    async def whole(self, started: Started, shape: Shape, model: str) -> JSON:
        """The answer as one object."""
        texts: dict[int, str] = {}
        reasons: dict[int, str] = {}
        body = head(shape, model, chunk=False)
        async for reply in started.every():  # read to its end, or to its fault
            if reply.type == "text":
                texts[reply.row] = texts.get(reply.row, "") + reply.text
            elif reply.type == "finish":
                reasons[reply.row] = reply.reason
            elif reply.type == "end":
                body["usage"] = usage(reply.prompt_tokens, reply.completion_tokens)
        body["choices"] = [
            shape.choice(row, texts.get(row, ""), reasons[row]) for row in sorted(reasons)
        ]
        return body

    async def chunks(
        self, started: Started, shape: Shape, model: str, wants_usage: bool
    ) -> AsyncIterator[str]:
        """The answer as server-sent events, `[DONE]` at the end."""
        base, opened = head(shape, model, chunk=True), set()

        def frame(*choices: JSON, **more: object) -> str:
            return f"data: {json.dumps({**base, 'choices': list(choices), **more})}\n\n"

        try:
            # A client that leaves cancels the answer at once, not when the garbage is collected.
            async with aclosing(started.rest):
                async for reply in started.every():
                    if reply.type in ("text", "finish") and reply.row not in opened:
                        opened.add(reply.row)
                        if (opening := shape.opening(reply.row)) is not None:
                            yield frame(opening)
                    if reply.type == "text":
                        yield frame(shape.delta(reply.row, reply.text))
                    elif reply.type == "finish":
                        yield frame(shape.closing(reply.row, reply.reason))
                    elif reply.type == "end" and wants_usage:
                        yield frame(usage=usage(reply.prompt_tokens, reply.completion_tokens))
        except Fault as fault:
            error = {"message": fault.message, "type": "server_error", "code": fault.code}
            yield f"data: {json.dumps({'error': error})}\n\n"
            return
        yield "data: [DONE]\n\n"

    async def close(self) -> None:
        for expiry in self._expiries.values():
            expiry.cancel()
        # An answer that ends meanwhile takes its generator out.
        for generator in list(self._generators.values()):
            await generator.close()
        self._generators.clear()

    async def _replies(self, folder: Path, ask: Ask) -> AsyncGenerator[Reply]:
        generator = self._take(folder)
        try:
            async with aclosing(generator.replies(ask)) as replies:
                async for reply in replies:
                    yield reply
        finally:
            self._give_back(generator)

    def _take(self, folder: Path) -> Generator:
        """The model's generator, in place of one that nobody uses when there are enough. Raises Busy."""
        found = self._generators.get(folder)
        if found is None:
            if len(self._generators) >= self.settings.generation_models:
                idle = [g for g in self._generators.values() if not g.users]
                if not idle:
                    raise Busy("every model that may be loaded is answering; try again later")
                self._drop(min(idle, key=lambda generator: generator.used_at))
            threads, timeout = self.settings.generation_threads, self.settings.generation_timeout
            found = self._generators[folder] = Generator(folder, threads, timeout)
        if found.users > WAITING:
            raise Busy("too many requests wait for this model; try again later")
        if (expiry := self._expiries.pop(folder, None)) is not None:
            expiry.cancel()
        found.users += 1
        return found

    def _give_back(self, generator: Generator) -> None:
        generator.users -= 1
        generator.used_at = time.monotonic()
        if generator.users or self._generators.get(generator.folder) is not generator:
            return
        if not generator.loaded:
            self._drop(generator)
        else:
            loop, idle = asyncio.get_running_loop(), self.settings.generation_idle
            self._expiries[generator.folder] = loop.call_later(idle, self._drop, generator)

    def _drop(self, generator: Generator) -> None:
        if (expiry := self._expiries.pop(generator.folder, None)) is not None:
            expiry.cancel()
        self._generators.pop(generator.folder, None)
        generator.kill()

    def _check(self, folder: Path) -> None:
        """Raises BadParameter for a model that generates no text or is too large for here."""
        try:
            check_folder(folder, "model", Use.POLICY)
        except ModelError as fault:
            raise BadParameter(f"model: {fault.message}", "model") from None
        size = sum(part.stat().st_size for part in folder.glob("*.safetensors"))
        if size > self.settings.generation_max_bytes:
            raise BadParameter(
                f"model: its weights have {size} bytes, more than the "
                f"{self.settings.generation_max_bytes} that are served here; use an inference server",
                "model",
            )
