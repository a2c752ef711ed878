"""`/v1/chat/completions` and `/v1/completions`, as the OpenAI API has them: to try a model out."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api.deps import CallerDep, ServicesDep, SignedIn
from api.openai.chat import ChatRequest, ChatShape, CompletionRequest, Shape, TextShape
from api.service.caller import Caller
from api.services import Services

router = APIRouter(prefix="/v1", tags=["openai"], dependencies=[SignedIn])


@router.post("/chat/completions", response_model=None)
async def create_chat_completion(
    body: ChatRequest, caller: CallerDep, parts: ServicesDep
) -> Response:
    """Answer a conversation by a finished model. Slow and on the CPU: for trying models out."""
    return await answer(body, ChatShape(), caller, parts)


@router.post("/completions", response_model=None)
async def create_completion(
    body: CompletionRequest, caller: CallerDep, parts: ServicesDep
) -> Response:
    """Go on from a prompt, as it is."""
    return await answer(body, TextShape(), caller, parts)


async def answer(
    body: ChatRequest | CompletionRequest, shape: Shape, caller: Caller, parts: Services
) -> Response:
    started = await parts.generation.start(caller, body)
    if body.stream:
        chunks = parts.generation.chunks(started, shape, body.model, body.wants_usage)
        return StreamingResponse(chunks, media_type="text/event-stream")
    return JSONResponse(await parts.generation.whole(started, shape, body.model))
