"""What a report's page may do."""

from __future__ import annotations

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page needs nothing from anywhere, and what models wrote must not run."""
