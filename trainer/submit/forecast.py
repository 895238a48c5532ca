"""What a job will cost, for people to read before they pay."""

from collections.abc import Sequence

from trainer.submit.catalogue import Prices
from trainer.submit.hardware import Hardware

HOURS_PER_MONTH = 730


def cost_lines(
    machine: Hardware, prices: Prices, *, max_hours: float, num_runs: int = 1, num_parallel: int = 1
) -> Sequence[str]:
    """Returns the price per hour and the most that the time limit lets it come to, as an estimate in US dollars."""
    if machine.dollars_per_hour is None:
        return [_unknown_price(machine)]
    per_hour = machine.dollars_per_hour * num_parallel
    most = machine.dollars_per_hour * num_runs * max_hours
    bound = f"{max_hours:g} h" if num_runs == 1 else f"{num_runs} runs of {max_hours:g} h"
    return [
        f"cost: about ${per_hour:.2f} per hour while it runs, at most ${most:.2f} in {bound}",
        f"      (an estimate from list prices of {prices.as_of} in prices.toml; storage and network are extra)",
    ]


def serving_cost_lines(machine: Hardware, prices: Prices, *, num_machines: int) -> Sequence[str]:
    """Returns what machines cost that answer day and night, as an estimate in US dollars."""
    if machine.dollars_per_hour is None:
        return [_unknown_price(machine)]
    per_hour = machine.dollars_per_hour * num_machines
    return [
        f"cost: about ${per_hour:.2f} per hour, ${per_hour * HOURS_PER_MONTH:.0f} per month, until it is undeployed",
        f"      (an estimate from list prices of {prices.as_of} in prices.toml)",
    ]


def _unknown_price(machine: Hardware) -> str:
    return f"cost: unknown, prices.toml has no price for {machine.machine_type} (--tables takes your own)"
