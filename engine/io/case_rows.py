"""The row of a case list, whatever kind of list it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import CaseListError

BATCH_ROWS = 16384
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

CASE_SCHEMA = pa.schema(
    [
        ("case_id", pa.string()),
        ("ct_uri", pa.string()),
        ("organs_uri", pa.string()),  # "": none given
        ("wanted", pa.string()),  # JSON list, one dict a lesion, as the list gives them; "": everything open
        ("variants", pa.int32()),  # 0: the run's default
    ]
)
"""URIs are as the list writes them, so that a list and its data can move together. A source leaves `case_id` null
where the list gives none; everywhere else nothing is null.

A dict of `wanted` may hold `type_json`, the URI of a reference report, which a later stage reads; other attributes
beside it hold for every lesion of that report.
"""

COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "case_id": ("case_id",),
    "ct_uri": ("ct", "ct_uri", "image"),
    "organs_uri": ("organs", "organs_uri", "seg"),
    "wanted": ("lesions", "attributes", "wanted"),
    "variants": ("variants",),
}
"""Column of `CASE_SCHEMA` -> the names it may have in a list."""


class CaseSource(Protocol):
    """One list of cases. Re-iterable: each call of `rows` starts from the beginning and yields the same rows."""

    @property
    def origin(self) -> str:
        """What messages call it."""
        ...

    @property
    def base(self) -> str:
        """Absolute URI of the folder that relative URIs start from."""
        ...

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Batches of `CASE_SCHEMA`, URIs as they are written. Raises `CaseListError`."""
        ...


def wanted_text(value: Any, where: str) -> str:
    """A lesion dict, a list of them, JSON text of either, or nothing -> canonical JSON list, "" where all is open.

    Only the form is checked; what the attributes say is the business of the sample's own stage. Raises `CaseListError`.
    """
    if isinstance(value, str):
        value = parse_json(value, where) if value.strip() else None
    if value is None or value == [] or value == {}:
        return ""
    lesions = [value] if isinstance(value, dict) else value
    if not isinstance(lesions, list) or not all(isinstance(lesion, dict) for lesion in lesions):
        raise CaseListError(
            f'{where}: the wanted lesions should be a JSON object such as {{"organ type": "liver"}}, or a list of them'
        )
    try:
        return _CANONICAL.encode(lesions)
    except (TypeError, ValueError) as error:
        raise CaseListError(f"{where}: the wanted lesions cannot be read as JSON ({error})") from None


def parse_json(text: str, where: str) -> Any:
    """Raises `CaseListError` that names the place."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CaseListError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise CaseListError(f"{where}: not usable JSON (nested too deep)") from None


def wanted_column(texts: pa.Array, where: Callable[[int], str]) -> pa.Array:
    """`wanted_text` of a string column; each different text is parsed once. `where(row)` names a row of the array."""
    coded = texts.fill_null("").dictionary_encode()
    canonical = []
    for code, text in enumerate(coded.dictionary.to_pylist()):
        try:
            canonical.append(wanted_text(text, ""))
        except CaseListError:
            wanted_text(text, where(pc.index(coded.indices, pa.scalar(code, coded.indices.type)).as_py()))
    return pa.array(canonical, pa.string()).take(coded.indices)
