"""What `tpu-images legacy` and `python -m trainer.estimator.legacy` do."""

from trainer.estimator.legacy import former_names, program, table
from trainer.legacy_arguments import LegacyArguments


def run(arguments: LegacyArguments) -> int:
    """Runs the program, or prints the names; returns the exit status.

    Raises:
      UserError: there is no such script, or it uses a name that is not provided.
    """
    if not arguments.script:
        print("\n".join(provided_names()))
        return 0
    return program.run(arguments.script, arguments.program_arguments, arguments.tensorflow_version)


def provided_names() -> list[str]:
    """Returns the names of the table, sorted, with what stands for each."""
    rows = {**{path: row.names for path, row in table.MODULES.items()}, **former_names.FORMER_NAMES}
    lines = [f"{path}.{name} = {target}" for path, names in rows.items() for name, target in names.items()]
    return sorted([*lines, *(f"{path}.* = {row.rest}" for path, row in table.MODULES.items() if row.rest)])
