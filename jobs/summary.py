"""What a run did, or would do, in a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from engine.io.answers import spent_in
from engine.io.ledger import Ledger
from engine.io.runfile import RunFile
from engine.io.storage import OutputFolder
from engine.planner import Plan
from engine.preview.gallery import PAGE, SHEET
from engine.settings import Settings
from jobs.tally import Tally

_MOST_REASONS = 10


def print_summary(output: OutputFolder, settings: Settings, *, most_reasons: int | None = _MOST_REASONS) -> Tally:
    """Samples, lesions by organ, failures by reason (all of them where `most_reasons` is None), and where to look.

    Returns what was counted.
    """
    console = Console(markup=False, highlight=False)  # a path or a reason may hold [brackets]
    tally = Tally.of(Ledger(output))
    console.print(_organ_table(tally, output.uri))
    counts = ", ".join(f"{tally.statuses[s]} {s}" for s in ("done", "rejected", "failed"))
    organs = tally.organs
    lines = [
        f"samples: {counts}; {organs.total()} lesions in {len(organs)} organs, from {len(tally.cases)} cases",
        *_reason_lines(tally, most_reasons),
        *_report_lines(tally, output, settings),
        f"dataset: {output.uri_of(settings.write.dataset_folder)}",
    ]
    for what, name in (("picture", SHEET), ("preview", PAGE)):
        if output.exists(name):
            lines.append(f"{what}: {output.uri_of(name)}")
    for line in lines:
        console.print(line, soft_wrap=True)
    return tally


def _organ_table(tally: Tally, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("organ", "lesions", "types"):
        table.add_column(heading, justify="right" if heading == "lesions" else "left")
    for organ, count in tally.organs.most_common():
        kinds = ", ".join(f"{n} {t}" for t, n in tally.types_in(organ).most_common())
        table.add_row(organ.replace("_", " "), str(count), kinds)
    return table


def _reason_lines(tally: Tally, most: int | None) -> Iterator[str]:
    shown = tally.reasons.most_common(most)
    for (status, stage, text), count in shown:
        example = tally.first[status, stage, text] + (", ..." if count > 1 else "")
        yield f"  {count} {status} at {stage}: {text} ({example})"
    if len(shown) < len(tally.reasons):
        rest = tally.reasons.total() - sum(count for _, count in shown)
        yield f"  {rest} more for {len(tally.reasons) - len(shown)} other reasons: lesionforge inspect lists them all"


def _report_lines(tally: Tally, output: OutputFolder, settings: Settings) -> Iterator[str]:
    """Who wrote the reports of finished samples, and what that has cost; nothing where no model was to be asked."""
    if not settings.report.asks:
        return
    spent = spent_in(output)
    cost = f", {price:,.4g} in cost" if (price := settings.report.budget.cost_of(spent)) else ""
    yield "reports: " + ", ".join(f"{count} {writer}" for writer, count in tally.writers.most_common())
    yield f"language model {settings.report.model}: {spent.requests:,} requests, {spent.tokens:,} tokens{cost}"


def print_plan(settings: Settings, plan: Plan, ledger: Ledger, present: RunFile | None) -> None:
    """`--dry-run`: what would be done, and by whom."""
    console = Console(markup=False, highlight=False)
    committed = int(ledger.committed(plan.total).sum()) if present else 0
    execution = settings.execution
    table = Table(show_header=False)
    table.add_row("output", settings.output)
    table.add_row("cases", f"{plan.cases:,}")
    table.add_row("samples", f"{plan.total:,} ({committed:,} committed, {plan.total - committed:,} to make)")
    table.add_row("form", settings.write.form)
    backends = f"organs {settings.organs.backend}, mask {settings.mask.backend}, paint {settings.paint.backend}"
    table.add_row("backends", backends)
    if settings.report.asks:
        table.add_row("reports", f"{settings.report.model} at {settings.report.base_url}")
    table.add_row("cpu tasks", f"{execution.workers or 'one a core'}, blocks of {execution.block_size}")
    for name, pool in execution.residents.items():
        table.add_row(name, f"{pool.min} to {pool.max} actors of {pool.num_cpus:g} CPU and {pool.num_gpus:g} GPU")
    if not execution.pools and (settings.mask.is_network or settings.paint.is_network):
        table.add_row("pools", "by the GPUs that the cluster has")
    gpus = sum(p.max * p.num_gpus for p in execution.residents.values())
    table.add_row("gpus", f"{gpus:g}")
    table.add_row("config", settings.config_hash)
    console.print(table)
