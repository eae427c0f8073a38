"""The section `report`: a template, or a language model and how it is asked."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from engine.core.spent import Spent
from engine.section import Count, Positive, Section

Price = Annotated[float, Field(ge=0)]
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_PLACE = frozenset({"base_url", "key_env", "timeout_s", "retries", "concurrency", "budget"})
"""What only says where a model is asked, and how patiently: it changes no answer."""


class Prices(Section):
    """Of a million tokens, in any currency."""

    prompt: Price
    completion: Price


class Budget(Section):
    """What a run may spend on a language model, resumed runs included; then reports are by template."""

    tokens: Count | None = None
    cost: Positive | None = None
    prices: Prices | None = None

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.cost is not None and self.prices is None:
            raise ValueError("a cost needs prices: {prompt: ..., completion: ...} of a million tokens")
        return self

    def cost_of(self, spent: Spent) -> float:
        """In the currency of the prices; 0 without any."""
        if self.prices is None:
            return 0.0
        return (spent.prompt_tokens * self.prices.prompt + spent.completion_tokens * self.prices.completion) / 1e6


class ReportWriter(Section):
    """Everything but `writer` belongs to a language model behind an OpenAI-compatible server."""

    writer: Literal["template", "llm"] = "template"
    base_url: str | None = None
    """Such as http://127.0.0.1:8000/v1 (vLLM), http://127.0.0.1:11434/v1 (Ollama) or that of a hosted service."""
    model: str | None = None
    key_env: str | None = None
    """Name of the environment variable that holds the key; the key itself is never a setting."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    """null leaves it to the server."""
    max_tokens: Count = 800
    """Of an answer; a model that thinks before it speaks needs more."""
    structured: Literal["auto", "schema", "json", "off"] = "auto"
    """How the server is held to JSON: by schema, to any object, or not at all; auto: as strictly as it can."""
    timeout_s: Positive = 60.0
    """For a whole answer, however it trickles."""
    retries: Annotated[int, Field(ge=0, le=20)] = 6
    """Of one request, on 429, 5xx, timeouts and lost connections, at growing distances."""
    concurrency: Count = 32
    """Requests at a time."""
    budget: Budget = Budget()

    @field_validator("structured", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        """YAML reads a bare `off` as false."""
        return "off" if value is False else value

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
        except ValueError:
            raise ValueError("should read http://host:port/v1, or https") from None
        if parts.username or parts.password or parts.query:
            raise ValueError("should hold no key: give the name of its environment variable as report.key_env")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("should read http://host:port/v1, or https")
        return value.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        """In capitals, which keys never are throughout: so a key put here by mistake is not repeated anywhere."""
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError("should be the name of an environment variable, such as OPENAI_API_KEY, not the key")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = sorted(self.model_fields_set - {"writer"})
        if not self.asks and given:
            raise ValueError(f"'{given[0]}' belongs to a language model, and the writer is {self.writer}")
        if self.asks and self.model is None:
            raise ValueError("writer llm needs its model")
        return self

    @property
    def asks(self) -> bool:
        """Whether a language model is asked."""
        return self.writer == "llm"

    def content(self) -> dict[str, Any]:
        """What decides the reports, as plain data."""
        return self.model_dump(mode="json", exclude=set(_PLACE)) if self.asks else {"writer": self.writer}
