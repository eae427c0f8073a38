"""What a run is asked for: frozen typed settings, of one YAML a run plus dotted overrides.

Everything that decides what is generated goes into `config_hash`; where and how fast it is generated
(`output`, `execution`) and in which form it is stored (`write.form`) do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.backends import Mask, Paint
from engine.core.errors import CaseError
from engine.core.limits import Limits
from engine.core.report import Wanted
from engine.organ_maps import Organs
from engine.section import Count, Positive, Section, Share
from engine.settings_file import load, parse
from engine.writers import ReportWriter


class ListFiles(Section):
    """The reference's aligned list files: line n of each belongs to the same case."""

    image: str
    organs: str | None = None
    attributes: str | None = None
    """JSON a line, such as {"organ type": "liver", "lesion type": "cyst"}."""
    report: str | None = None
    """Path of a `type.json` a line."""


class Cases(Section):
    """Where the healthy volumes come from."""

    source: str | None = None
    """Parquet file or folder, .jsonl, a folder of volumes, a glob, or one volume; local or any fsspec URI."""
    lists: ListFiles | None = None
    organs: str | None = None
    """For a folder, a glob or one volume: the organ map's URI, `{case_id}` and `{dir}` filled in."""
    variants_per_case: Count = 1
    limit: Count | None = None
    """Take only the first so many cases of the list, for a trial."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.source is None) == (self.lists is None):
            raise ValueError("give either cases.source or cases.lists")
        return self


class MixEntry(Section):
    """One kind of lesion that a run may draw: fixed attributes and a weight."""

    weight: Positive = 1.0
    fixed: Mapping[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, data: Any) -> Any:
        """`{organ: liver, lesion_type: cyst, weight: 2}` -> fixed = everything but the weight."""
        if isinstance(data, Mapping) and "fixed" not in data:
            return {"weight": data.get("weight", 1.0), "fixed": {k: v for k, v in data.items() if k != "weight"}}
        return data

    @model_validator(mode="after")
    def _parses(self) -> Self:
        try:
            wanted = Wanted.from_json(self.fixed)
        except CaseError as error:
            raise ValueError(str(error)) from None
        if wanted.organ is None:
            raise ValueError("an entry of lesions.mix needs an organ")
        return self

    @property
    def wanted(self) -> Wanted:
        return Wanted.from_json(self.fixed)


class Lesions(Section):
    """How many lesions a sample gets, and which."""

    per_sample: tuple[Count, Count] = (1, 1)
    """Fewest and most, drawn evenly; a case list that fixes its own lesions overrides this."""
    mix: tuple[MixEntry, ...] = ()
    skip_absent: bool = True
    """Draw only from entries whose organ is in view; with false a draw of an absent organ fails its sample."""
    gap_mm: Positive = 6.0
    """Free space kept between the boxes of two lesions of a sample."""

    @field_validator("per_sample")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] > value[1]:
            raise ValueError("lesions.per_sample should be [fewest, most]")
        return value


class Blend(Section):
    margin_mm: Annotated[float, Field(ge=0, le=50)] = 3.0
    """Width of the soft margin around the lesion on the native grid; not one bit changes beyond it."""


class Check(Section):
    """What a finished lesion must hold; the gates' other thresholds are in `engine/core/limits.py`."""

    max_attempts: Count = 3
    """A sample that misses a gate is drawn again this often in all, then ends as `rejected`."""
    min_voxels: Count = 3
    """Fewest native voxels a lesion must have."""
    min_thickness_vox: Count = 2
    """Fewest native voxels it must span along every axis."""
    min_inside: Share = Limits.min_inside
    """Share of it in its organ, where its cavity says inside."""
    volume_share: tuple[Positive, Positive] = Limits.volume_share
    """Smallest and largest volume that will do, as a share of the volume asked for."""
    contrast_share: tuple[Share, Positive] = Limits.contrast_share
    """Weakest and strongest contrast that will do, as a share of the contrast asked for."""

    @field_validator("volume_share", "contrast_share")
    @classmethod
    def _holds_what_was_asked(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] <= 1 <= value[1]:
            raise ValueError("should be [least, most] with 1, which is what was asked for, between them")
        return value

    @property
    def limits(self) -> Limits:
        return Limits(**self.model_dump(exclude={"max_attempts"}))


class Input(Section):
    sheared: Literal["resample", "reject"] = "resample"
    """A gantry-tilt grid: resampled to an orthogonal one on the way out, or refused."""
    forms: Literal["agree", "sform", "qform"] = "agree"
    """NIfTI whose sform and qform disagree: refused, or read by the one named here."""
    max_volume_gb: Positive = 4.0
    """Largest decoded volume that is read, in GB of its on-disk type."""


class Write(Section):
    form: Literal["volume", "crop", "patch"] = "volume"
    crop_context_mm: Positive = 32.0
    """With `form: crop`: tissue kept around the lesions."""
    label_organ: bool = True
    """Label 1 for organs that host a lesion of this sample; the lesion is 2 either way."""
    shard_size: Count = 1000
    dataset_id: Annotated[int, Field(ge=1, le=999)] = 501
    dataset_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")] = "LesionForge"
    folds: Annotated[int, Field(ge=2)] = 5
    preview: Annotated[int, Field(ge=0)] = 12
    """Samples shown on the contact sheet and the preview page."""

    @property
    def dataset_folder(self) -> str:
        return f"nnUNet_raw/Dataset{self.dataset_id:03d}_{self.dataset_name}"


class Pool(Section):
    """A resident actor pool for one stage; without one the stage runs inside the CPU tasks.

    A `num_gpus` below 1 shares a GPU with other actors.
    """

    min: Count = 1
    max: Count = 1
    num_cpus: Annotated[float, Field(ge=0)] = 0.5
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    batch: Count = 4
    """Samples a call."""

    @property
    def calls(self) -> int:
        """That an actor works on at the same time."""
        return 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError("a pool's min exceeds its max")
        if self.num_gpus > 1 and self.num_gpus % 1:
            raise ValueError(f"num_gpus {self.num_gpus:g} should be a share of one GPU, or whole GPUs")
        return self


class PaintPool(Pool):
    vq: Literal["same", "neighbour"] = "same"
    """Where the VQ-GAN runs: on LINet's own GPU, or on a second one of the actor's, while LINet goes on sampling."""

    @property
    def calls(self) -> int:
        return 2 if self.vq == "neighbour" else 1

    @model_validator(mode="after")
    def _has_a_neighbour(self) -> Self:
        if self.vq == "neighbour" and self.num_gpus not in (0, 2):
            raise ValueError(f"vq: neighbour takes num_gpus 2, for LINet and for decoding; it is {self.num_gpus:g}")
        if self.vq == "same" and self.num_gpus > 1:
            raise ValueError(f"vq: same uses one GPU, and num_gpus is {self.num_gpus:g}; vq: neighbour uses two")
        return self


class Execution(Section):
    """Where and how fast: changes nothing in what is generated."""

    workers: Count | None = None
    """CPU task slots; one a core where not given."""
    block_size: Count = 16
    """Samples a block: a block costs about 100 ms of orchestration whatever it holds."""
    wave_samples: Count = 16384
    """Samples handed to Ray at a time."""
    organ_pool: Pool | None = None
    """Resident TotalSegmentators, a CT a call. As many from `min` to `max` as find room when the run starts."""
    mask_pool: Pool | None = None
    paint_pool: PaintPool | None = None
    address: str | None = None
    """Ray address; without one a local cluster is started, or the job's own is used."""
    object_store_gb: Positive | None = None
    commit_rows: Count = 1000
    commit_s: Positive = 10.0
    heartbeat_s: Positive = 5.0
    watchdog_s: Positive = 120.0

    @model_validator(mode="after")
    def _pools_together(self) -> Self:
        if (self.mask_pool is None) != (self.paint_pool is None):
            raise ValueError("execution.mask_pool and execution.paint_pool go together: give both or neither")
        return self

    @property
    def pools(self) -> dict[str, Pool]:
        """The actor pools of the pipeline that are asked for, by setting."""
        pools = {"mask_pool": self.mask_pool, "paint_pool": self.paint_pool}
        return {name: pool for name, pool in pools.items() if pool is not None}

    @property
    def residents(self) -> dict[str, Pool]:
        """Every actor asked for: those of the pipeline, and those beside it."""
        return ({"organ_pool": self.organ_pool} if self.organ_pool else {}) | self.pools


class Settings(Section):
    """A whole run."""

    output: str
    seed: int = 0
    cases: Cases
    input: Input = Input()
    organs: Organs = Organs()
    lesions: Lesions = Lesions()
    report: ReportWriter = ReportWriter()
    mask: Mask = Mask()
    paint: Paint = Paint()
    blend: Blend = Blend()
    check: Check = Check()
    write: Write = Write()
    execution: Execution = Execution()

    @model_validator(mode="after")
    def _segments(self) -> Self:
        if self.execution.organ_pool is not None and self.organs.backend == "given":
            raise ValueError("execution.organ_pool belongs to organs.backend: totalsegmentator")
        return self

    def content(self) -> dict[str, Any]:
        """What decides the dataset, as plain data: all but where things lie and how fast they are made.

        Which cases there are is kept as a fingerprint of the list's content instead of its place.
        """
        content = self.model_dump(mode="json", exclude={"output", "execution"})
        for place in ("source", "lists", "organs"):
            content["cases"].pop(place)
        return content | {p: getattr(self, p).content() for p in ("organs", "report", "mask", "paint")}

    @property
    def config_hash(self) -> str:
        """16 hex digits over `content()` without the form of storage: a patch run materialises into the same rows."""
        content = self.content()
        for key in ("form", "crop_context_mm", "preview"):
            content["write"].pop(key)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_settings(path: str, overrides: Sequence[str] = ()) -> Settings:
    """Read YAML (local or any fsspec URI), apply `a.b=value` overrides, validate. Raises `SettingsError`."""
    return load(Settings, path, overrides)


def parse_settings(data: Mapping[str, Any], overrides: Sequence[str] = (), *, origin: str = "settings") -> Settings:
    """As `load_settings`, from a mapping."""
    return parse(Settings, data, overrides, origin=origin)
