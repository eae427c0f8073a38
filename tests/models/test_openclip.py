"""open_clip beside any torchvision: one that works, one built for another torch, none."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType

import pytest

from models import openclip

NMS_IS_MISSING = RuntimeError("operator torchvision::nms does not exist")


class Imports:
    """Stands for importlib: answers a name with the errors given for it, one a call, then with a module."""

    def __init__(self, **errors: list[Exception]) -> None:
        self.errors, self.asked = errors, list[str]()

    def import_module(self, name: str) -> ModuleType:
        self.asked.append(name)
        if self.errors.get(name.split(".")[0]):
            raise self.errors[name.split(".")[0]].pop(0)
        return ModuleType(name)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Where it is noted that operators were named; the module's memory is empty before and after."""
    notes: list[str] = []
    monkeypatch.setattr(openclip, "_name_operators", lambda: notes.append("named"))
    openclip.open_clip.cache_clear()
    yield notes
    openclip.open_clip.cache_clear()


def test_nothing_is_done_where_torchvision_works(monkeypatch: pytest.MonkeyPatch, named: list[str]) -> None:
    imports = Imports()
    monkeypatch.setattr(openclip, "importlib", imports)
    assert openclip.open_clip().__name__ == "open_clip"
    assert openclip.open_clip() is openclip.open_clip()
    assert imports.asked == ["torchvision", "open_clip.hf_model", "open_clip.tokenizer", "open_clip"]
    assert named == []


def test_operators_are_named_for_a_torchvision_without_them(monkeypatch: pytest.MonkeyPatch, named: list[str]) -> None:
    imports = Imports(torchvision=[NMS_IS_MISSING])
    monkeypatch.setattr(openclip, "importlib", imports)
    openclip.open_clip()
    assert imports.asked[:2] == ["torchvision", "torchvision"]
    assert named == ["named"]


@pytest.mark.parametrize("errors", [[RuntimeError("compiled with CUDA 12.8")], [NMS_IS_MISSING, NMS_IS_MISSING]])
def test_another_fault_is_passed_on(monkeypatch: pytest.MonkeyPatch, named: list[str], errors: list[Exception]) -> None:
    last = errors[-1]
    monkeypatch.setattr(openclip, "importlib", Imports(torchvision=list(errors)))
    with pytest.raises(RuntimeError) as caught:
        openclip.open_clip()
    assert caught.value is last


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, named: list[str]) -> None:
    missing = ModuleNotFoundError("No module named 'open_clip'", name="open_clip")
    monkeypatch.setattr(openclip, "importlib", Imports(open_clip=[missing]))
    with pytest.raises(ModuleNotFoundError, match=r"needs open_clip_torch.*'open_clip' is not installed"):
        openclip.open_clip()


def test_the_installed_ones_go_together() -> None:
    """Here, whatever torchvision is installed, the real import ends well; twice as once."""
    package = openclip.open_clip()
    assert package.hf_model.HFTextEncoder is importlib.import_module("open_clip.hf_model").HFTextEncoder
    assert importlib.import_module("torchvision").__version__
