"""The sections `mask` and `paint`: procedural code, or a network and how it is used."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from engine.core.geometry import Shape3
from engine.section import Count, Section


class Backend(Section):
    """Everything but `backend` belongs to a network.

    What is here decides bits of the output, the batch included: batches of another shape round otherwise. The
    checkpoint's place does not; its content does, and is in the run as a digest.
    """

    backend: str = "procedural"
    checkpoint: str | None = None
    """Published .ckpt or .safetensors, local or any fsspec URI."""
    weights: Literal["averaged", "last"] = "averaged"
    text: bool = True
    """Whether the network is told the report's attributes."""
    words: Literal["published", "full"] = "published"
    """The attributes and the wording of the published networks' training, or everything that a report says."""
    tokenizer: str | None = None
    """Local folder or hub name of BiomedCLIP; only its tokenizer is read where the checkpoint brings the weights."""
    guidance: Annotated[float, Field(ge=0)] = 1.0
    """Above 1 the text counts for more, at twice the work; for networks trained with descriptions dropped."""
    sampler: Literal["unipc", "dpm++2m", "ddim"] = "unipc"
    steps: Count = 15
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of ddim alone, which takes 1 where none is given."""
    half_tables: bool = False
    """Of ddim alone: its tables in float16, as the reference's second inference has them."""
    clip: bool = False
    """Keep what a step takes for clean where clean data are: a mask on [0, 1], a latent within the codebook. Steadies
    networks that are small or have learned little (Ho et al. 2020); the reference does not."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the hardware multiplies it."""
    batch: Count = 1
    """Lesions at a time; short batches are filled up."""
    crop: Shape3
    """(S A L) mm around the lesion that the network sees; its training's, unless it was trained on another."""

    @property
    def crop_shape(self) -> Shape3 | None:
        """Shape on the model grid of the crop to be cut out; None for the box and a little context."""
        return self.crop if self.is_network else None

    @property
    def is_network(self) -> bool:
        return self.backend != "procedural"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = sorted(self.model_fields_set - {"backend"})
        if not self.is_network and given:
            raise ValueError(f"'{given[0]}' belongs to a network, and the backend is {self.backend}")
        if self.is_network and self.checkpoint is None:
            raise ValueError(f"backend {self.backend} needs its checkpoint")
        if self.sampler != "ddim" and (self.eta is not None or self.half_tables):
            raise ValueError(f"eta and half_tables belong to the sampler ddim, not to {self.sampler}")
        if self.guidance != 1 and not self.text:
            raise ValueError("guidance strengthens the text, and the text is off")
        return self

    def content(self) -> dict[str, Any]:
        """What decides the output, as plain data; of a file its name."""
        if not self.is_network:
            return {"backend": self.backend}
        content = self.model_dump(mode="json", exclude={"tokenizer"})
        return content | {key: _name(content[key]) for key in ("checkpoint", "vq") if content.get(key)}


def _name(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]


class Mask(Backend):
    """What draws the lesion masks."""

    backend: Literal["procedural", "lmnet"] = "procedural"
    crop: Shape3 = (64, 152, 152)
    volume: Literal["report", "box"] = "report"
    """What a mask's threshold aims at: the volume the report asks for, or as the reference does that of its box."""


class Paint(Backend):
    """What paints the lesions."""

    backend: Literal["procedural", "linet"] = "procedural"
    vq: str | None = None
    """Checkpoint of the VQ-GAN; that within LINet's checkpoint where none is given."""
    crop: Shape3 = (128, 128, 128)
