"""A lesion that a training knows: where its files lie, which lesion of the label it is, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, float, float]


@dataclass(frozen=True)
class KnownLesion:
    """One lesion of a label (0 nothing, 1 host organ, 2 lesion). URIs are such as any process can open."""

    case_id: str
    index: int
    """Among the lesions of its case; in a run, of its sample."""
    image_uri: str
    label_uri: str
    organs_uri: str
    healthy_organs_uri: str | None = None
    """Map of the same anatomy without the lesion, that LMNet sees in place of `organs_uri`."""
    report: str = ""
    """JSON, in our form or the reference's."""
    report_uri: str = ""
    """A `type.json`, in place of `report`."""
    centroid_mm: Point | None = None
    """World RAS; without one the label's largest lesion is meant."""
    others_mm: tuple[Point, ...] | None = None
    """Centroids of all other lesions of the label, where they are known: each piece of it is then the nearest one's."""
    organ_id: int | None = None
    """v1 id of the host, where it is known; else report and organ map tell."""
    scheme: str = "total_v1"
    """Of the organ map's ids, as `names`: see `anatomy.table_for`."""
    names: tuple[tuple[str, str], ...] | None = None
    ours: bool = False
    """Painted by a run of ours, which has seen that its source is in HU."""
