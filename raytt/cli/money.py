"""Options on machines, prices, budget and deadline, shared by the commands that decide by cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from raytt.settings.declaration import Rule, Settings

if TYPE_CHECKING:
    from raytt.pricing.terms import Terms


def machine_names(incomplete: str) -> list[str]:
    """Machines of the catalog that comes with raytt, for completion in a shell."""
    from raytt.pricing.catalog import load_catalog

    rows = load_catalog()
    names = [offer.name for row in rows for spot in (False, True) if (offer := row.offer(spot=spot)) is not None]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


@dataclass(frozen=True, kw_only=True)
class MoneyOptions(Settings):
    """What a user writes of machines and bounds; `Terms.of` reads and checks it."""

    PANEL = "Money and time"

    prices: Annotated[tuple[str, ...], Rule(flag="--price", form="CLOUD:INSTANCE[:spot]", complete=machine_names)] = ()
    """A machine to price candidates on, such as aws:g6.xlarge or aws:g5.xlarge:spot; give it several times to compare
    machines."""
    catalog: Annotated[str | None, Rule(form="FILE")] = None
    """Prices of your own: a CSV file with SkyPilot's columns, Cloud, as_of and source."""
    gpus: Annotated[tuple[int, ...], Rule(at_least=1)] = ()
    """Number of GPUs to train on; several times to compare. Default: 1."""
    efficiency: Annotated[str | None, Rule(form="SHARE")] = None
    """Efficiency of data-parallel training on several GPUs, such as 0.9 or 0.8..0.95."""
    seconds_per_step: Annotated[tuple[str, ...], Rule(form="[MACHINE/][BATCH=]SECONDS")] = ()
    """Your own figure, instead of a timed or an estimated one: 0.12, 32=0.1..0.14, aws:g6.xlarge/32=0.12."""
    budget_usd: Annotated[float | None, Rule(above=0.0)] = None
    """Most that a training run may cost."""
    deadline: Annotated[str | None, Rule(form="DURATION", also="--budget-time")] = None
    """Longest that it may take: 12h, 90min, 1h30m, 2d."""
    confidence: float | None = None
    """Probability with which budget and deadline must be kept. Default: 0.5, which compares medians."""

    def terms(self, *, base: Terms | None = None) -> Terms:
        """The terms they stand for.

        Args:
            base: Terms that hold for what is not given.

        Raises:
            InputError: If one of them cannot be read, or the catalog has no such price.
        """
        from raytt.pricing.terms import Terms

        return Terms.of(
            prices=self.prices,
            catalog=self.catalog,
            gpus=self.gpus,
            efficiency=self.efficiency,
            seconds_per_step=self.seconds_per_step,
            budget_usd=self.budget_usd,
            deadline=self.deadline,
            confidence=self.confidence,
            base=base,
        )
