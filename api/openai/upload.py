"""One file out of a multipart form, written to disk as it comes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.service.faults import BadParameter, TooLarge

MAX_FIELD = 4096
"""Bytes of a field that is no file."""
MAX_FIELDS = 32


@dataclass(slots=True)
class Form:
    """A form's file, as far as it has come, and its other fields."""

    out: BinaryIO
    max_bytes: int
    file_field: str = "file"
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    """None until the file begins."""
    size: int = 0
    """Bytes of the file so far."""
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: str = ""
    _name: str = ""
    _in_file: bool = False

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    # What the parser calls, in the order of a part.

    def on_part_begin(self) -> None:
        self._disposition, self._name, self._in_file = "", "", False
        self._value.clear()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            # The parser of its options encodes it back the same way.
            self._disposition = self._value.decode("latin-1")
        self._header.clear()
        self._value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._in_file = self._name == self.file_field
        if self._in_file:
            if self.filename is not None:
                raise BadParameter("the form has two files; send one", self.file_field)
            given = options.get(b"filename", b"").decode("utf-8", "replace")
            self.filename = Path(given.replace("\\", "/")).name[:255] or "file"
        elif len(self.fields) >= MAX_FIELDS:
            raise BadParameter(f"the form has more than {MAX_FIELDS} fields")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            if len(self._value) + end - start > MAX_FIELD:
                raise BadParameter(f"longer than {MAX_FIELD} bytes", self._name or None)
            self._value += data[start:end]
            return
        self.size += end - start
        if self.size > self.max_bytes:
            text = f"the file is larger than {self.max_bytes} bytes"
            raise TooLarge(text, self.file_field)
        piece = data[start:end]
        self._digest.update(piece)
        self.out.write(piece)

    def on_part_end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._value.decode("utf-8", "replace")


async def receive(
    body: AsyncIterator[bytes],
    content_type: str | None,
    out: BinaryIO,
    max_bytes: int,
    field: str = "file",
) -> Form:
    """Read a form whole; the file in `field` goes to `out`. Raises BadParameter or TooLarge."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise BadParameter("send the file as multipart/form-data", field)
    form, ended = Form(out, max_bytes, field), False

    def on_end() -> None:
        nonlocal ended
        ended = True

    try:
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": form.on_part_begin,
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_header_end": form.on_header_end,
                "on_headers_finished": form.on_headers_finished,
                "on_part_data": form.on_part_data,
                "on_part_end": form.on_part_end,
                "on_end": on_end,
            },
        )
        async for piece in body:
            await asyncio.to_thread(parser.write, piece)
        parser.finalize()
    except FormParserError as fault:
        raise BadParameter(f"the form cannot be read: {fault}", field) from None
    if not ended:
        raise BadParameter("the form ends in the middle; send it again", field)
    if form.filename is None:
        raise BadParameter("is required; add the file", field)
    return form
