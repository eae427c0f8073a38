"""One short look at a server before a run: does it answer, take the key, know the model?"""

from __future__ import annotations

from typing import Any

import openai
from pydantic import SecretStr

from actors.chat import client_of
from actors.complaints import Misunderstood, TurnedAway, complaint_of
from engine.core.errors import UsageError
from engine.core.suggest import did_you_mean
from engine.writers import ReportWriter

_ANSWER_S = 10.0


async def require_server(writer: ReportWriter, key: SecretStr | None) -> None:
    """Raise `UsageError` unless a run could be begun with this server.

    Its list of models is read; only where that does not settle it, one token is asked for.
    """
    async with client_of(writer, key).with_options(timeout=_ANSWER_S) as client:
        listed = await _models(client, writer)
        if not {writer.model, f"{writer.model}:latest"} & set(listed):  # Ollama's way of writing
            await _try_model(client, writer, listed)


async def _models(client: openai.AsyncOpenAI, writer: ReportWriter) -> list[str]:
    """What the server says it has; nothing where it keeps no list, or one of another kind."""
    try:
        listed: Any = await client.models.list()
        return [str(model.id) for model in listed.data or ()]
    except openai.APIStatusError as error:
        if error.status_code in (401, 403):
            raise _unfit(writer, complaint_of(error.status_code, "", {}, writer)) from None
    except openai.APIConnectionError:
        raise _unfit(writer, _SILENT) from None
    except (openai.OpenAIError, ValueError, AttributeError, TypeError):
        pass
    return []


async def _try_model(client: openai.AsyncOpenAI, writer: ReportWriter, listed: list[str]) -> None:
    hello: Any = [{"role": "user", "content": "Say OK."}]
    try:
        await client.chat.completions.with_raw_response.create(model=str(writer.model), messages=hello, max_tokens=1)
    except openai.APIStatusError as error:
        said = error.response.text
        complaint = complaint_of(error.status_code, said, {}, writer)
        unknown = isinstance(complaint, Misunderstood) and "model" in said.lower() and bool(listed)
        if unknown or isinstance(complaint, TurnedAway):
            hint = did_you_mean(str(writer.model), listed) or (f"; it has {', '.join(listed[:5])}" if listed else "")
            about = f"knows no model '{writer.model}'{hint}" if unknown or error.status_code == 404 else complaint
            raise _unfit(writer, about) from None
    except openai.APIConnectionError:
        raise _unfit(writer, _SILENT) from None


_SILENT = "does not answer; is the server up, and the address right?"


def _unfit(writer: ReportWriter, reason: Exception | str) -> UsageError:
    return UsageError(f"report.base_url {writer.base_url}: {reason}")
