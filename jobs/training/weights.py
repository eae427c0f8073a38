"""What comes out of a training: the best and the last weights in the published layout, and as safetensors.

    weights/LINet.ckpt, weights/LINet.safetensors             of the step that validation liked best
    weights/LINet-last.ckpt, weights/LINet-last.safetensors   of the last step

`lesionforge generate` takes any of them as they are.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import ray
from ray.train import Checkpoint

from engine.io.storage import OutputFolder
from engine.training.settings import TrainSettings
from jobs.training.checkpoints import STATE

_CHUNK_BYTES = 16 << 20


def write_weights(settings: TrainSettings, checkpoints: Mapping[str, Checkpoint], output: OutputFolder) -> list[str]:
    """By what is put behind the network's name, "" for the best. Names of the files, in the output folder.

    In a task of its own: the driver's process may have neither torch nor the memory.
    """
    cpus = settings.workers.num_cpus
    task = ray.remote(num_cpus=cpus, max_retries=settings.max_failures)(_write_weights)
    written: list[str] = ray.get(task.remote(settings, dict(checkpoints), output))
    return written


def _write_weights(settings: TrainSettings, checkpoints: Mapping[str, Checkpoint], output: OutputFolder) -> list[str]:
    import torch

    from jobs.training.networks import NETWORKS, encoder_of, module_of
    from models.checkpoints import ATTRIBUTES, WORDS
    from models.contents import description, open_contents
    from models.conversion import as_safetensors
    from models.tensor_file import write_checkpoint, write_safetensors

    network, module = NETWORKS[settings.network], module_of(settings)
    encoder = encoder_of(module)
    about: dict[str, str] = (
        {WORDS: settings.text.words} if settings.text.encoder != "off" and settings.network != "vq" else {}
    )
    if encoder is not None:
        about[ATTRIBUTES] = json.dumps(encoder.config.to_json(), sort_keys=True)
    names: list[str] = []
    for suffix, checkpoint in checkpoints.items():
        with checkpoint.as_directory() as folder, tempfile.TemporaryDirectory(prefix="lesionforge-") as scratch:
            state = torch.load(Path(folder, STATE), map_location="cpu", weights_only=True, mmap=True)
            module.load_state_dict(state["state_dict"])
            published = Path(scratch, f"{network}{suffix}.ckpt")
            unet, vq = getattr(module, "unet", None), getattr(module, "vq", None)
            sizes = description(network, unet and unet.config, vq and vq.config)
            write_checkpoint(published, module.published_state(), sizes | about)
            converted = as_safetensors(open_contents(published), training=False)
            safe = published.with_suffix(".safetensors")
            write_safetensors(safe, converted.tensors, converted.metadata)
            for file in (published, safe):
                output.put_stream(f"weights/{file.name}", _chunks(file), durable=True)
                names.append(f"weights/{file.name}")
    return names


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
