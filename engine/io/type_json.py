"""The reference's `type.json` files, each the report of a case's lesions."""

from __future__ import annotations

import json
from collections.abc import Mapping

from engine.core.errors import ReportError, VolumeError
from engine.core.report import Wanted, from_reference
from engine.io.streams import name_of, opened

_MOST_BYTES = 1 << 24


def read_type_json(uri: str) -> list[Wanted]:
    """Every lesion of a `type.json` at a path or URI. Raises `ReportError`, headed by the file's name."""
    try:
        with opened(uri) as file:
            data = json.loads(file.read(_MOST_BYTES))
        if not isinstance(data, Mapping):
            raise ReportError("should be one JSON object, {organ id: lesion}")
        return from_reference(data)
    except (VolumeError, ReportError) as error:
        raise ReportError(f"report {name_of(uri)}: {error}") from None
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor JSON, or JSON without end
        raise ReportError(f"report {name_of(uri)}: is not valid JSON ({error})") from None
