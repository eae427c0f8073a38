"""Settings: parsed once, told apart by what they generate."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.core.errors import SettingsError
from engine.settings import Settings, load_settings, parse_settings
from runs import ROOT

BASE = {"output": "runs/x", "cases": {"source": "cases.jsonl"}, "lesions": {"mix": [{"organ": "liver", "weight": 2}]}}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("executon.workers=2", "unknown key 'executon'; did you mean 'execution'?"),
        ("execution.workrs=2", "unknown key 'execution.workrs'; did you mean 'workers'?"),
        ("execution.mask_pool.mn=2", "did you mean 'min'?"),
        ("seed=abc", "seed: Input should be a valid integer"),
        ("lesions.mix=[{organ: livver}]", "did you mean 'liver'?"),
        ("lesions.mix=[{organ: liver, density: hypodens}]", "did you mean 'hypodense'?"),
        ("lesions.mix=[{lesion_type: cyst}]", "needs an organ"),
        ("lesions.per_sample=[3, 1]", "[fewest, most]"),
        ("cases.lists={image: a.txt}", "either cases.source or cases.lists"),
        ("execution.mask_pool={min: 1}", "go together"),
        ("write.form=volum", "'volume', 'crop' or 'patch'"),
        ("blend.margin_mm=-1", "greater than or equal to 0"),
        ("noequals", "should read key=value"),
        ("seed.deeper=1", "is a value, not a section"),
    ],
)
def test_mistakes_are_one_line_that_helps(override: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_settings({**BASE, "seed": 1}, [override])
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    ["output=elsewhere", "execution.workers=7", "execution.block_size=1", "write.form=patch", "cases.source=b.parquet"],
)
def test_hash_leaves_out_where_and_how_fast(override: str) -> None:
    assert parse_settings(BASE, [override]).config_hash == parse_settings(BASE).config_hash


@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "blend.margin_mm=2",
        "cases.variants_per_case=2",
        "lesions.mix=[{organ: spleen}]",
        "write.label_organ=false",
    ],
)
def test_hash_knows_what_changes_the_dataset(override: str) -> None:
    assert parse_settings(BASE, [override]).config_hash != parse_settings(BASE).config_hash


@pytest.mark.parametrize("path", sorted((ROOT / "configs/generate").glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_that_comes_along_is_one(path: Path) -> None:
    load_settings(str(path))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"backend": "lmnet"}, "mask: backend lmnet needs its checkpoint"),
        ({"checkpoint": "x"}, "mask: 'checkpoint' belongs to a network, and the backend is procedural"),
        ({"backend": "lmnet", "checkpoint": "x", "eta": 0.5}, "eta and half_tables belong to the sampler ddim"),
        ({"backend": "lmnet", "checkpoint": "x", "text": False, "guidance": 2}, "guidance strengthens the text"),
        ({"backend": "lmnt"}, "mask.backend: "),
    ],
)
def test_networks_are_asked_for_whole(changes: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)):
        parse_settings({"output": "x", "cases": {"source": "y"}, "mask": changes})


def test_where_a_checkpoint_lies_does_not_change_a_run_and_what_is_made_of_it_does() -> None:
    def run(**mask: object) -> Settings:
        mask = {"backend": "lmnet", "checkpoint": "/here/LMNet.ckpt", **mask}
        return parse_settings({"output": "x", "cases": {"source": "y"}, "mask": mask})

    assert run().config_hash == run(checkpoint="s3://there/LMNet.ckpt", tokenizer="/there").config_hash
    assert run().config_hash != run(batch=2).config_hash
    assert "/here" not in str(run().content())


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ({"writer": "llm"}, "writer llm needs its model"),
        ({"model": "m"}, "'model' belongs to a language model, and the writer is template"),
        ({"writer": "llm", "model": "m", "modle": "m"}, "unknown key 'report.modle'; did you mean 'model'?"),
        ({"writer": "llm", "model": "m", "base_url": "127.0.0.1:8000"}, "should read http://host:port/v1"),
        ({"writer": "llm", "model": "m", "base_url": "http://u:sk-secret@host/v1"}, "should hold no key"),
        ({"writer": "llm", "model": "m", "base_url": "http://host/v1?api-key=sk-secret"}, "should hold no key"),
        ({"writer": "llm", "model": "m", "key_env": "sk-secret"}, "should be the name of an environment variable"),
        ({"writer": "llm", "model": "m", "key_env": "gsk_secret"}, "should be the name of an environment variable"),
        ({"writer": "llm", "model": "m", "budget": {"cost": 5}}, "a cost needs prices"),
    ],
)
def test_a_language_model_is_asked_for_whole(report: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)) as error:
        parse_settings({"output": "x", "cases": {"source": "y"}, "report": report})
    assert "secret" not in str(error.value)


def test_what_a_model_is_asked_changes_a_run_and_where_does_not() -> None:
    def run(**report: object) -> Settings:
        report = {"writer": "llm", "model": "m", **report}
        return parse_settings({"output": "x", "cases": {"source": "y"}, "report": report})

    place = {"base_url": "http://there/v1/", "key_env": "KEY", "timeout_s": 5, "retries": 1, "concurrency": 3}
    assert run().config_hash == run(**place, budget={"tokens": 9}).config_hash
    for change in ({"model": "n"}, {"temperature": 0}, {"max_tokens": 9}, {"structured": False}):
        assert run().config_hash != run(**change).config_hash
    assert run(structured=False).report.structured == "off"
    content = run(**place).content()
    again = parse_settings({**content, "output": "x", "cases": {**content["cases"], "source": "y"}})
    assert again.config_hash == run().config_hash
