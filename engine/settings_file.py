"""A YAML file plus dotted overrides, parsed once into the section that it is of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import fsspec
import yaml
from pydantic import BaseModel, ValidationError

from engine.core.errors import SettingsError
from engine.core.store_errors import refusal, store_errors
from engine.core.suggest import did_you_mean
from engine.section import Section

S = TypeVar("S", bound=Section)


def load(kind: type[S], path: str, overrides: Sequence[str] = ()) -> S:
    """Read YAML (local or any fsspec URI), apply `a.b=value` overrides, validate.

    Raises `SettingsError`, one line: unreadable file, bad YAML, unknown key (with the nearest known one), bad value.
    """
    try:
        with fsspec.open(path, "rt") as file:
            data = yaml.safe_load(file)
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such configuration file") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML ({_problem(error)})") from None
    except (ValueError, ImportError) as error:  # not UTF-8, an unknown protocol, or one that is not installed
        raise SettingsError(f"{path}: cannot be read ({error})") from None
    except store_errors() as error:
        raise SettingsError(f"{path}: cannot be read ({refusal(error)})") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: should be a mapping of settings, such as 'seed: 1'")
    return parse(kind, data, overrides, origin=path)


def parse(kind: type[S], data: Mapping[str, Any], overrides: Sequence[str] = (), *, origin: str) -> S:
    """As `load`, from a mapping."""
    merged: dict[str, Any] = _plain(dict(data), origin)
    for override in overrides:
        _apply(merged, override)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(f"{origin}: {_describe(kind, error)}") from None


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SettingsError(f"override '{override}' should read key=value, such as execution.workers=2")
    try:
        value = _plain(yaml.safe_load(text), f"override '{override}'")
    except yaml.YAMLError:
        raise SettingsError(f"override '{override}': the value is not valid YAML") from None
    *path, last = key.split(".")
    node = data
    for name in path:
        child = node.setdefault(name, {})
        if child is None:
            child = node[name] = {}
        if not isinstance(child, dict):
            raise SettingsError(f"override '{override}': '{name}' is a value, not a section")
        node = child
    node[last] = value


def _describe(kind: type[Section], error: ValidationError) -> str:
    """The first problem, in one line; the count of the rest."""
    problems = error.errors()
    first = problems[0]
    where = ".".join(str(p) for p in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_at(kind, first["loc"][:-1])
        line = f"unknown key '{where}'{did_you_mean(str(first['loc'][-1]), known)}"
    elif first["type"] == "missing":
        line = f"'{where}' is missing"
    else:
        message = first["msg"].removeprefix("Value error, ")
        line = f"{where}: {message}" if where else message
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return line + more


def _keys_at(kind: type[Section], path: tuple[int | str, ...]) -> list[str]:
    """Field names of the section at a path of keys."""
    section: type[BaseModel] = kind
    for name in path:
        if isinstance(name, int) or name not in section.model_fields:
            continue
        nested = _section_in(section.model_fields[name].annotation)
        if nested is None:
            return []
        section = nested
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """`Pool | None`, `tuple[MixEntry, ...]`, `Cases` -> the section class in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _section_in(argument)
        if found is not None:
            return found
    return None


def _plain(value: Any, origin: str) -> Any:
    """What YAML made of a text, as JSON would have it: keys are texts, and so are dates."""
    try:
        return json.loads(json.dumps(value, default=str))
    except TypeError:
        raise SettingsError(f"{origin}: a key should be a plain name") from None


def _problem(error: yaml.YAMLError) -> str:
    """In one line, with its place."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} at line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    return str(error).splitlines()[0]
