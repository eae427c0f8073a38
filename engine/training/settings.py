"""What a training is asked for: one YAML a training, plus dotted overrides.

A step is one step of the optimiser over `batch` examples, however many workers share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from engine.core.geometry import Shape3
from engine.section import Count, Positive, Section, Share
from engine.settings_file import load, parse

CROPS: Mapping[str, Shape3] = {"vq": (128, 128, 128), "lmnet": (64, 152, 152), "linet": (128, 128, 128)}
"""Of the published networks' training, (S A L) mm."""


class LesionLists(Section):
    """The reference's aligned list files: line n of each belongs to the same case. Each line is a URI."""

    image: str
    label: str
    """0 nothing, 1 the host organ, 2 lesion."""
    report: str
    """Path of a `type.json` a line."""
    organs: str
    healthy_organs: str | None = None
    """Organ maps of the same anatomy without its lesion, that LMNet sees in place of `organs`."""


class Augment(Section):
    """Random changes of an example, drawn anew each time it is shown (TorchIO)."""

    flip: tuple[Literal["S", "A", "L"], ...] = ()
    """Axes that may be turned round. None as it stands: anatomy is not symmetric."""
    rotate_deg: Annotated[float, Field(ge=0, le=45)] = 0.0
    """About each axis, to either side."""
    scale: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Largest relative change of size."""
    shift_hu: Annotated[float, Field(ge=0)] = 0.0
    noise_hu: Annotated[float, Field(ge=0)] = 0.0
    """Largest standard deviation."""


class TrainingData(Section):
    """Where lesions come from, and how they are shown."""

    lists: LesionLists | None = None
    table: str | None = None
    """Parquet file or folder: case_id, image_uri, label_uri, organs_uri, report (JSON)."""
    run: str | None = None
    """Output folder of a finished run of ours."""
    cases: str | None = None
    """Of that run: the folder of its case list, from which relative URIs of organ maps start."""
    crop: Shape3 | None = None
    """(S A L) mm; the published network's where none is given."""
    outside: Literal["air", "zero_hu"] = "air"
    """What lies beyond the volume; the reference has 0 HU there, which is water."""
    labels: str = "total_v1"
    """Ids of the organ maps: "total_v1" or "total"."""
    validation: Share = 0.1
    """Of the cases; all lesions of a case are on one side."""
    random_sample: bool = False
    """Every example is drawn from all, with replacement; otherwise each comes once an epoch, in shuffled order."""
    iter_num: Count | None = None
    """Examples an epoch; as many as there are lesions where not given."""
    on_bad_case: Literal["stop", "skip"] = "stop"
    cache: str | None = None
    """Local folder that keeps decoded crops."""
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.lists, self.table, self.run)) != 1:
            raise ValueError("give one of data.lists, data.table and data.run")
        if self.cases is not None and self.run is None:
            raise ValueError("data.cases belongs to data.run")
        return self


class Sizes(Section):
    """Of a network to be trained from nothing; the published ones where not given."""

    width: Count | None = None
    width_multipliers: tuple[Count, ...] | None = None
    res_blocks: Count | None = None
    attention_at: tuple[Count, ...] | None = None
    context_channels: Count | None = None
    levels: Annotated[int, Field(ge=2)] | None = None
    """Of the VQ-GAN, as the rest; between the first two the resolution changes."""
    codes: Count | None = None
    groups: Count | None = None
    """How many groups of channels are normalised, each together; a VQ-GAN's width is a multiple of it."""
    predicts: Literal["noise", "velocity"] | None = None
    """What a diffusion network tells of x_t: noise as published, or velocity (Salimans & Ho 2022), which the released
    code does not know."""


class Text(Section):
    """How the attributes of a lesion are told."""

    encoder: Literal["biomedclip", "attributes", "off"] = "biomedclip"
    """The published frozen text tower; a small encoder trained along; or nothing."""
    source: str | None = None
    """Local folder or hub name of BiomedCLIP."""
    words: Literal["published", "full"] = "published"
    drop: Share = 0.0
    """Share of examples that are told nothing, for guidance (Ho & Salimans 2022)."""


class VQObjective(Section):
    """Of the VQ-GAN alone. The three from `perceptual_of_unit_range` on: what the released training got wrong, and true
    trains as it did."""

    error: Literal["absolute", "rms"] = "absolute"
    """Of a reconstruction: mean absolute difference, or each volume's root of the mean square."""
    perceptual: bool = True
    perceptual_weights: str | None = None
    """Folder or file of VGG16's and LPIPS's weights."""
    adversarial: bool = True
    adversarial_from_step: Annotated[int, Field(ge=0)] = 50_001
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.5
    perceptual_of_unit_range: bool = False
    perceptual_dropout: bool = False
    commitment_on_codes: bool = False
    restart_codes_every: Annotated[int, Field(ge=0)] = 0
    """Steps after which codes that nothing has chosen are put where latents lie (Dhariwal et al. 2020); 0 never."""
    unit_latents: bool = False
    """Write weights whose latents have mean 0 and variance 1 where validation looked (Rombach et al. 2022)."""


class Workers(Section):
    """Ray Train workers; between `min` and `max` as the cluster grows and shrinks."""

    min: Count = 1
    max: Count = 1
    num_cpus: Annotated[float, Field(ge=0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    loaders: Count = 1
    """Tasks that decode examples for each worker."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError("workers.min exceeds workers.max")
        return self


class TrainSettings(Section):
    """A whole training."""

    network: Literal["vq", "lmnet", "linet"]
    output: str
    """Folder of the training, local or any fsspec URI."""
    seed: int = 0
    data: TrainingData
    sizes: Sizes = Sizes()
    start_from: str | None = None
    """Checkpoint to fine-tune, published or ours."""
    lora_rank: Count | None = None
    """Fine-tune low-rank changes of the weights alone (Hu et al. 2022)."""
    vq: str | None = None
    """Checkpoint of the frozen VQ-GAN that LINet paints through; that within `start_from` where not given."""
    text: Text = Text()
    objective: VQObjective = VQObjective()
    steps: Count = 100_000
    batch: Count = 1
    """Examples a step, over all workers."""
    at_once: Count = 1
    """Examples that a worker computes at the same time; more than that are accumulated."""
    learning_rate: Positive = 2e-5
    scale_learning_rate: bool = False
    """Multiply it by `batch`, as the released training does."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warm_up_steps: Annotated[int, Field(ge=0)] = 0
    rate_falls: bool = False
    """From its height to nothing at the last step, along a cosine (Loshchilov & Hutter 2017)."""
    ema_decay: Share = 0.9999
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """bfloat16: autocast; weights and optimiser stay float32. auto: that where the hardware multiplies it."""
    checkpointing: bool = False
    """Recompute activations backward: less memory, more time."""
    compile: bool = False
    device: str = "auto"
    clip: bool = False
    """Of the samples that validation and pictures look at, as `mask.clip` and `paint.clip` of a run."""
    validate_every: Count = 1000
    validation_examples: Count = 16
    checkpoint_every: Count = 1000
    pictures_every: Count = 5000
    log_every: Count = 50
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    workers: Workers = Workers()
    max_failures: Annotated[int, Field(ge=-1)] = 3
    """Of workers, after which the training gives up; -1 never does."""
    address: str | None = None
    """Ray address; without one a local cluster is started, or the job's own is used."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for count in range(self.workers.min, self.workers.max + 1):
            if self.batch % (count * self.at_once):
                raise ValueError(
                    f"batch {self.batch} cannot be shared by {count} workers with {self.at_once} at once; "
                    f"it should be a multiple of {count * self.at_once}"
                )
        if self.network == "linet" and self.vq is None and self.start_from is None:
            raise ValueError("linet paints in the latents of a VQ-GAN: give vq, its checkpoint")
        if self.lora_rank is not None and self.start_from is None:
            raise ValueError("lora_rank changes a trained network: give start_from, its checkpoint")
        if self.network == "vq" and self.lora_rank is not None:
            raise ValueError("lora_rank is for lmnet and linet")
        if self.network == "vq" and self.text != Text():
            raise ValueError("the VQ-GAN is told no text")
        return self

    @property
    def crop(self) -> Shape3:
        return self.data.crop or CROPS[self.network]

    @property
    def rate(self) -> float:
        """Of the optimiser."""
        return self.learning_rate * (self.batch if self.scale_learning_rate else 1)


def load_training(path: str, overrides: Sequence[str] = ()) -> TrainSettings:
    """Read YAML (local or any fsspec URI), apply `a.b=value` overrides, validate. Raises `SettingsError`."""
    return load(TrainSettings, path, overrides)


def parse_training(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> TrainSettings:
    """As `load_training`, from a mapping."""
    return parse(TrainSettings, data, overrides, origin="settings")
