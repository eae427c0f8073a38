"""`lesionforge train` from its lesions to weights that `generate` takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine.core.errors import EXIT_DONE, UsageError
from engine.core.network_text import full_vocabulary
from jobs.generate import generate
from jobs.train import train
from known_cases import KnownCases
from made_cases import MadeCases, spoil
from models.attributes import AttributeEncoder
from models.checkpoints import attribute_config, load_text, load_unet, load_vq, text_state
from models.contents import open_contents
from models.layout import Network
from runs import lesionforge, write_config
from tiny_networks import TinyNetworks, tiny_networks
from train_runs import furthest, known_cases, training, weights, write

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> KnownCases:
    return known_cases(tmp_path_factory.mktemp("train") / "cases")


@pytest.fixture(scope="module")
def vq_config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A VQ-GAN from nothing, with TensorBoard. One of its volumes ends in the middle."""
    folder = tmp_path_factory.mktemp("vq")
    known = known_cases(folder / "cases")
    spoil(known.folder / "case-2/ct.nii.gz", lambda data: data[: len(data) // 2])
    skip = {"data": {"on_bad_case": "skip"}, "loggers": ["tensorboard"]}
    return write(folder / "vq.yaml", training(known, "vq", folder / "out", **skip))


@pytest.fixture(scope="module")
def vq(ray_here: None, vq_config: str) -> Path:
    assert train(vq_config) == EXIT_DONE
    return Path(vq_config).parent / "out"


@pytest.fixture(scope="module")
def lmnet(ray_here: None, known: KnownCases) -> Path:
    """LMNet by one worker that accumulates two examples, changed at random and kept in a cache."""
    output, cache = known.folder.parent / "lmnet", known.folder.parent / "cache"
    data = {"augment": {"rotate_deg": 10, "shift_hu": 20}, "cache": str(cache)}
    assert train(write(known.folder.parent / "lmnet.yaml", training(known, "lmnet", output, data=data))) == EXIT_DONE
    assert len(list(cache.glob("*/*.npz"))) == 4
    return output


def test_a_vq_gan_comes_out(vq: Path, vq_config: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("VQ.ckpt", "VQ.safetensors", "VQ-last.ckpt", "VQ-last.safetensors"):
        assert load_vq(vq / "weights" / name).config.codes == 16
    assert not list(vq.glob("lease/*")) + list(vq.glob(".inflight"))
    kept = sorted(path.name for path in (vq / "checkpoints").glob("step-*"))
    file = json.loads((vq / "train.json").read_text())
    assert kept == sorted({f"step-{file[which]['step']:08d}" for which in ("best", "last")})
    assert file["complete"]
    assert file["last"]["step"] == 6
    assert file["lesions"] == {"trained": 3, "validated": 1}
    assert {"val/psnr_db", "val/ssim", "val/hu_error", "val/codes_used"} <= file["best"].keys()
    assert file["config"]["sizes"]["codes"] == 16

    capsys.readouterr()
    assert train(vq_config) == EXIT_DONE
    said = capsys.readouterr().out
    assert said.startswith(f"{vq} is complete; nothing to do\nsteps: 6; lesions: 3 trained on, 1 validated on\n")
    with pytest.raises(UsageError, match="holds a training with seed=3, this one has 4"):
        train(vq_config, ["seed=4"])


def test_figures_and_pictures_can_be_looked_at(vq: Path) -> None:
    board = EventAccumulator(str(vq / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in board.Scalars("val/psnr_db")] == [4, 6]
    assert [event.step for event in board.Images("samples")] == [4]
    (picture,) = (vq / "pictures").glob("*.png")
    assert picture.name == "step-00000004.png"
    assert np.asarray(Image.open(picture)).shape == (16, 3 * 16 + 2 * 2)


def test_linet_is_trained_through_it(vq: Path, ray_here: None, known: KnownCases, tmp_path: Path) -> None:
    frozen = vq / "weights/VQ.safetensors"
    settings = training(known, "linet", tmp_path / "out", vq=str(frozen))
    assert train(write(tmp_path / "linet.yaml", settings)) == EXIT_DONE
    for name in ("LINet.ckpt", "LINet.safetensors"):
        path = tmp_path / "out/weights" / name
        load_unet(path, network=Network.LINET)
        assert furthest(load_vq(path).state_dict(), load_vq(frozen).state_dict()) == 0
        encoder = attribute_config(open_contents(path))
        assert encoder is not None
        assert encoder.vocabulary == full_vocabulary()
        load_text(path, AttributeEncoder(encoder))
    assert weights(tmp_path / "out", "LINet.ckpt").keys() >= {"betas", "model_ema.decay"}
    paint = {"backend": "linet", "checkpoint": str(tmp_path / "out/weights/LINet.ckpt"), "crop": [16, 16, 16]}
    run = one_lesion(tmp_path, paint=paint)
    assert generate(run) == EXIT_DONE
    with pytest.raises(UsageError, match="was told words: published in training, and words: full are others"):
        generate(run, ["paint.words=full", f"output={tmp_path}/others"])


def one_lesion(folder: Path, **settings: Any) -> str:
    """Configuration of a run of one sample; what a network of six steps paints is noise, and rejected as such."""
    cases = MadeCases(folder / "healthy")
    cases.good("case-0", seed=9)
    source = {"source": str(cases.list_file), "variants_per_case": 1}
    lesions = {"mix": [{"organ": "liver", "size_mm": 9}]}
    few = {"cases": source, "lesions": lesions, "check": {"max_attempts": 1}}
    return str(write_config(folder / "run.yaml", output=str(folder / "run"), seed=5, **few, **settings))


@pytest.mark.long
def test_any_number_of_workers_learns_the_same(lmnet: Path, known: KnownCases, tmp_path: Path) -> None:
    data = {"augment": {"rotate_deg": 10, "shift_hu": 20}}
    two = training(known, "lmnet", tmp_path / "out", data=data, workers={"min": 2, "max": 2})
    assert train(write(tmp_path / "two.yaml", two)) == EXIT_DONE
    assert furthest(weights(lmnet, "LMNet-last.ckpt"), weights(tmp_path / "out", "LMNet-last.ckpt")) < 1e-6


@pytest.mark.long
def test_lmnet_goes_on_from_what_it_has_learnt(lmnet: Path, known: KnownCases, tmp_path: Path) -> None:
    """With its attribute encoder; only what is tuned changes."""
    start = lmnet / "weights/LMNet.safetensors"
    tuned = training(known, "lmnet", tmp_path / "out", start_from=str(start), sizes={}, steps=1, lora_rank=2)
    assert train(write(tmp_path / "tuned.yaml", tuned)) == EXIT_DONE
    before, after = load_unet(start), load_unet(tmp_path / "out/weights/LMNet.ckpt", ema=False)
    assert 0 < furthest(before.state_dict(), after.state_dict()) < 0.05
    texts = text_state(start), text_state(tmp_path / "out/weights/LMNet.ckpt")
    assert furthest(*texts) < 0.01


def test_a_bad_case_is_skipped_and_counted(vq: Path, vq_config: str, capsys: pytest.CaptureFixture[str]) -> None:
    (bad,) = json.loads((vq / "train.json").read_text())["bad_cases"]
    assert bad["case_id"] == "case-2"
    assert bad["examples"] == 4  # of 12, of three cases in turn
    train(vq_config)
    assert "skipped 4 examples: case-2: ct.nii.gz: " in capsys.readouterr().out


def test_a_bad_case_ends_a_training(ray_here: None, vq_config: str, tmp_path: Path) -> None:
    """Nobody tries again."""
    with pytest.raises(UsageError, match=r"^case-2: ct.nii.gz: "):
        train(vq_config, [f"output={tmp_path}/out", "data.on_bad_case=stop"])
    assert not json.loads((tmp_path / "out/train.json").read_text())["complete"]
    assert not list((tmp_path / "out").glob("lease/*"))


def test_a_killed_worker_changes_nothing(vq: Path, vq_config: str, tmp_path: Path) -> None:
    """Killed once between two checkpoints: it goes on at the last one, to the very same weights."""
    once = tmp_path / "killed"
    kill = {"LESIONFORGE_FAILPOINT": "train_step@0:5", "LESIONFORGE_FAILPOINT_ONCE": str(once)}
    ended = lesionforge("train", vq_config, f"output={tmp_path}/out", env=kill)
    assert ended.returncode == EXIT_DONE, ended.stderr
    assert once.exists(), "nothing was killed"
    for name in ("VQ.ckpt", "VQ-last.ckpt"):
        assert furthest(weights(vq, name), weights(tmp_path / "out", name)) == 0
    (bad,) = json.loads((tmp_path / "out/train.json").read_text())["bad_cases"]
    assert bad["examples"] == 4
    board = EventAccumulator(str(tmp_path / "out/tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> TinyNetworks:
    return tiny_networks(tmp_path_factory.mktemp("networks"))


@pytest.mark.long
def test_a_tuned_linet_of_a_run_is_what_generate_takes(ray_here: None, networks: TinyNetworks, tmp_path: Path) -> None:
    """Lesions of a finished run; the text tower comes with the checkpoint, and goes with it."""
    cases = MadeCases(tmp_path / "cases")
    for number in range(2):
        cases.good(f"case-{number}", seed=number)
    run: dict[str, Any] = {
        "cases": {"source": str(cases.list_file), "variants_per_case": 1},
        "lesions": {"mix": [{"organ": "liver", "size_mm": 9}]},
        "check": {"max_attempts": 1},
    }
    first = write_config(tmp_path / "run.yaml", output=str(tmp_path / "run"), seed=5, **run)
    assert generate(str(first)) == EXIT_DONE
    tokenizer = str(networks.folder / "tokenizer")
    settings = {
        "network": "linet", "output": str(tmp_path / "out"), "steps": 2, "loggers": [], "lora_rank": 2,
        "start_from": str(networks.folder / "LINet.ckpt"), "text": {"source": tokenizer}, "learning_rate": 1e-3,
        "data": {"run": str(tmp_path / "run"), "cases": str(cases.folder), "crop": [16, 16, 16], "validation": 0.5},
    }  # fmt: skip
    assert train(write(tmp_path / "train.yaml", settings)) == EXIT_DONE
    tuned = tmp_path / "out/weights/LINet.safetensors"
    tower = text_state(networks.folder / "LINet.ckpt")
    assert all(torch.equal(tensor, tower[name]) for name, tensor in text_state(tuned).items())
    paint = networks.settings["paint"] | {"checkpoint": str(tuned)}
    second = write_config(tmp_path / "again.yaml", output=str(tmp_path / "again"), seed=6, paint=paint, **run)
    assert generate(str(second)) == EXIT_DONE
