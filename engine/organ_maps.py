"""The section `organs`: maps that the cases bring, and maps that TotalSegmentator makes for those that bring none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, model_validator

from engine.core.anatomy import table_for
from engine.core.errors import CaseError
from engine.section import Section

OrganPart = Literal["organs", "vertebrae", "cardiac", "muscles", "ribs"]
"""TotalSegmentator's networks at 1.5 mm, each with classes of its own."""


def _require_parts(given: Any) -> Any:
    """In one line; a union's own complaint is one for each of its kinds."""
    known = get_args(OrganPart)
    if given in ("auto", "all") or (
        isinstance(given, (list, tuple)) and given and all(part in known for part in given)
    ):
        return given
    raise ValueError(f"should be auto, all, or a list of {', '.join(known)}")


OrganParts = Annotated[Literal["auto", "all"] | tuple[OrganPart, ...], BeforeValidator(_require_parts)]


class Organs(Section):
    """How organ maps are had and read. A case that brings one keeps it; `labels` and `names` are about those."""

    backend: Literal["given", "totalsegmentator"] = "given"
    labels: Literal["total_v1", "total_v2", "names"] = "total_v1"
    names: Mapping[str, str] | None = None
    """With `labels: names`: {id: organ name}."""
    fast: bool = True
    """One network at 3 mm for all classes, or five at 1.5 mm."""
    parts: OrganParts = "auto"
    """With `fast: false`, which of the five. auto: `organs`, and those with an organ of the mix; all where LMNet reads
    the map or the case list names organs of its own."""
    cache: str | None = None
    """Folder or URI for the maps, shared by runs; the run's own folder where none is given."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: the GPU of `execution.organ_pool`, or without one the processors."""

    @model_validator(mode="after")
    def _names_known(self) -> Self:
        if (self.labels == "names") != (self.names is not None):
            raise ValueError("organs.names goes with organs.labels: names")
        try:
            table_for(self.labels, self.names)
        except CaseError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _of_its_backend(self) -> Self:
        given = sorted(self.model_fields_set - {"backend", "labels", "names"})
        if self.backend == "given" and given:
            raise ValueError(f"'{given[0]}' belongs to totalsegmentator, and the backend is given")
        if self.fast and self.parts != "auto":
            raise ValueError("parts are those of fast: false; the fast network has all classes in one")
        return self

    def content(self) -> dict[str, Any]:
        """What decides the maps, as plain data; what the weights are is in the run as a digest."""
        made = {"fast", "parts"} if self.backend == "totalsegmentator" else set()
        return self.model_dump(mode="json", include={"backend", "labels", "names"} | made)
