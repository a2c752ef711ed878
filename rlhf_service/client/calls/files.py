"""`/v1/files`."""

from __future__ import annotations

from typing import Any, BinaryIO

from rlhf_service.client.call import Call, one, part, plain, raw
from rlhf_service.client.paging import Page, page
from rlhf_service.client.records import Deleted, FileRecord


def upload(file: BinaryIO, name: str, purpose: str = "fine-tune") -> Call[FileRecord]:
    """Keep a JSON Lines file; it is streamed."""
    return Call(
        "POST",
        "/v1/files",
        one(FileRecord),
        files={"file": (name, file, "application/octet-stream")},
        data={"purpose": purpose},
        repeatable=False,
    )


def listed(*, limit: int = 100, after: str | None = None) -> Call[Page[FileRecord]]:
    """A part of the uploaded files, newest first."""
    return Call("GET", "/v1/files", page(FileRecord), query={"limit": limit, "after": after})


def get(file_id: str) -> Call[FileRecord]:
    """One file."""
    return Call("GET", f"/v1/files/{part(file_id)}", one(FileRecord))


def report(file_id: str) -> Call[dict[str, Any]]:
    """Which kinds of stages can read it, and the first rows that they cannot."""
    return Call("GET", f"/v1/files/{part(file_id)}/report", plain)


def content(file_id: str) -> Call[bytes]:
    """Its bytes."""
    return Call("GET", f"/v1/files/{part(file_id)}/content", raw)


def delete(file_id: str) -> Call[Deleted]:
    """Delete it. Refused while a job that has not ended reads it."""
    return Call("DELETE", f"/v1/files/{part(file_id)}", one(Deleted))
