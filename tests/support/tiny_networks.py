"""Checkpoints in the published layout of networks so small that a run of them takes seconds. Their weights are random:
what they paint is noise, and no lesion.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.diffusion import PUBLISHED
from models.ema import Ema
from models.layout import diffusion_state, vq_state
from models.text import TextConfig, TextTower
from models.unet import UNet, UNetConfig
from models.vq import VQ, VQConfig
from published_files import save

CROP = (16, 16, 16)
_TEXT = TextConfig(
    vocabulary=64, width=16, layers=1, heads=2, feedforward=32, positions=64, channels=32, text_length=64
)
_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *"0123456789", *",.-"]


@dataclass(frozen=True)
class TinyNetworks:
    """Where they lie."""

    folder: Path

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The sections `mask` and `paint` of a run."""
        tokenizer = str(self.folder / "tokenizer")
        common: dict[str, Any] = {"tokenizer": tokenizer, "crop": list(CROP), "batch": 2, "steps": 5}
        return {
            "mask": {"backend": "lmnet", "checkpoint": str(self.folder / "LMNet.ckpt"), **common},
            "paint": {"backend": "linet", "checkpoint": str(self.folder / "LINet.ckpt"), **common},
        }


def tiny_networks(folder: Path) -> TinyNetworks:
    """LMNet.ckpt, LINet.ckpt, VQ.ckpt and the tokenizer of their text tower."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vq = VQ(VQConfig(width=16, codes=64))
        save(folder / "VQ.ckpt", vq_state(vq.state_dict()))
        for name, channels, autoencoder in (("LMNet", (4, 1), None), ("LINet", (5, 5), vq.state_dict())):
            unet = _random(UNetConfig(in_channels=channels[0], out_channels=channels[1], width=16, res_blocks=1,
                                      width_multipliers=(1, 1, 2), context_channels=32))  # fmt: skip
            text = {key: torch.randn(value.shape) * 0.2 for key, value in TextTower(_TEXT).state_dict().items()}
            state = diffusion_state(
                PUBLISHED.buffers(), unet.state_dict(), Ema(unet).state_dict(), vq=autoencoder, text=text
            )
            save(folder / f"{name}.ckpt", state)
    _write_tokenizer(folder / "tokenizer")
    return TinyNetworks(folder)


def _random(config: UNetConfig) -> UNet:
    """Weights a little away from their start, at which a UNet says nothing."""
    unet = UNet(config)
    for parameter in unet.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return unet


def _write_tokenizer(folder: Path) -> None:
    """Of letters and digits; sizes of the tower beside it."""
    folder.mkdir()
    pieces = [*_WORDS, *(f"##{word}" for word in "abcdefghijkl")]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    config = {
        "model_type": "bert", "vocab_size": _TEXT.vocabulary, "hidden_size": _TEXT.width,
        "num_hidden_layers": _TEXT.layers, "num_attention_heads": _TEXT.heads, "intermediate_size": _TEXT.feedforward,
        "max_position_embeddings": _TEXT.positions,
    }  # fmt: skip
    clip = {"model_cfg": {"embed_dim": _TEXT.channels, "text_cfg": {"context_length": _TEXT.text_length}}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "open_clip_config.json").write_text(json.dumps(clip))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
