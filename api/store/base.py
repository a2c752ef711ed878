"""What every table is made with."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Integer
from sqlalchemy.orm import DeclarativeBase

from api.store.types import UtcDateTime, Words

Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER keys only


class Base(DeclarativeBase):
    """Collects the tables."""

    type_annotation_map: ClassVar = {
        datetime: UtcDateTime,
        str: Words,
        dict[str, Any]: JSON(none_as_null=True),
    }
