"""What a server means by a status that is not 200."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from engine.writers import ReportWriter

_NO_QUOTA = ("insufficient_quota", "exceeded your current quota", "billing_hard_limit")
_FILTERED = ("content_filter", "content_policy", "content management policy")
_LONGEST_ASKED_S = 600.0


class Trouble(Exception):
    """A request without an answer, by kind. `wait_s` is what the server asked for before the next one.

    What is not `passing` would be answered the same again.
    """

    def __init__(self, kind: str, *, wait_s: float = 0.0, passing: bool = True) -> None:
        super().__init__(kind)
        self.kind, self.wait_s, self.passing = kind, wait_s, passing


class Misunderstood(Exception):
    """Something in the request is unknown to this server; its words say what."""


class TurnedAway(Exception):
    """Every request of the run would be answered like this one."""


def complaint_of(status: int, said: str, headers: Mapping[str, str], writer: ReportWriter) -> Exception:
    """One of the three above. `said` is the body of the answer."""
    if status == 402 or (status == 429 and any(word in said for word in _NO_QUOTA)):
        return TurnedAway(f"{status}: the account has no quota left")
    if status == 429:
        return Trouble("rate limit", wait_s=retry_after_s(headers))
    if status in (408, 409, 425) or status >= 500:
        return Trouble("server error", wait_s=retry_after_s(headers))
    if any(word in said for word in _FILTERED):
        return Trouble("refusal", passing=False)
    if status in (401, 403):
        return TurnedAway(_about_the_key(status, writer))
    if status == 404:
        return TurnedAway(f"404: knows no model '{writer.model}', or its address ends otherwise than .../v1")
    return Misunderstood(said)


def _about_the_key(status: int, writer: ReportWriter) -> str:
    """The server's own words are left out: some repeat the key."""
    if writer.key_env is None:
        return f"{status}: wants a key; report.key_env names the environment variable that holds it"
    return f"{status}: does not take the key in {writer.key_env}"


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds until the server wants to be asked again: a number or a date; 0 where it says nothing."""
    said = headers.get("retry-after", "").strip()
    seconds = 0.0
    with suppress(ValueError, TypeError):
        seconds = float(said)
    if not seconds and said:
        with suppress(ValueError, TypeError):
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_ASKED_S)
