"""How one server likes to be asked: what it does not know is left out, for the rest of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from engine.core.dictation import Message
from engine.writers import ReportWriter

Form = Literal["schema", "json", "off"]

_WEAKER: Mapping[Form, Form] = {"schema": "json", "json": "off"}
_OF_FORM = ("response_format", "json_schema", "json_object", "structured", "guided", "schema", "grammar")
_SEED_BITS = 31


@dataclass(frozen=True)
class Dialect:
    """`form` as in `report.structured`; the limit of an answer goes by either of two names."""

    form: Form = "schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seeded: bool = True

    @classmethod
    def first(cls, writer: ReportWriter) -> Self:
        """The strictest that the settings allow."""
        return cls("schema" if writer.structured == "auto" else writer.structured)

    def request(
        self, writer: ReportWriter, messages: Sequence[Message], schema: Mapping[str, Any], seed: int
    ) -> dict[str, Any]:
        """Body of a chat completion; `seed` has 63 bits, of which most servers take the half."""
        body: dict[str, Any] = {"model": writer.model, "messages": list(messages), self.limit: writer.max_tokens}
        if writer.temperature is not None:
            body["temperature"] = writer.temperature
        if self.seeded:
            body["seed"] = seed >> (63 - _SEED_BITS)
        match self.form:
            case "schema":
                named = {"name": "lesion", "strict": True, "schema": dict(schema)}
                body["response_format"] = {"type": "json_schema", "json_schema": named}
            case "json":
                body["response_format"] = {"type": "json_object"}
        return body

    def after(self, complaint: str, writer: ReportWriter) -> Dialect | None:
        """What to try after a 400 with this text; None where it is about something else."""
        said = complaint.lower()
        if self.limit == "max_tokens" and "max_completion_tokens" in said:
            return replace(self, limit="max_completion_tokens")
        if self.form != "off" and writer.structured == "auto" and any(word in said for word in _OF_FORM):
            return replace(self, form=_WEAKER[self.form])
        if self.seeded and "seed" in said:
            return replace(self, seeded=False)
        return None
