"""Write the MLproject file from the declared parameters: `python -m sslmlflow.config.mlproject > MLproject`."""

from sslmlflow.config import ENTRY_POINTS
from sslmlflow.config.options import Option, options_of

HEADER = """\
# Generated from sslmlflow/config by `make MLproject`; edit there.
name: sslmlflow
conda_env: conda.yaml
entry_points:
"""


def mlproject() -> str:
    """The text of the MLproject file."""
    return HEADER + "".join(_entry_point(name, options_of(config)) for name, config in ENTRY_POINTS.items())


def _entry_point(name: str, options: dict[str, Option]) -> str:
    parameters = "".join(
        f'      {option.name}: {{type: {_type(option)}, default: "{option.text(option.default)}"}}\n'
        for option in options.values()
    )
    # Placeholders stay unquoted: MLflow quotes the values, and quotes of our own would let a value run as a command.
    arguments = "\n".join(f"      --{option}={{{option}}}" for option in options)
    return f"  {name}:\n    parameters:\n{parameters}    command: >-\n      python -m sslmlflow {name}\n{arguments}\n"


def _type(option: Option) -> str:
    # MLflow checks no types; `string` keeps it from rewriting what was given.
    if option.optional or option.many:
        return "string"
    return {int: "int", float: "float"}.get(option.kind, "string")


if __name__ == "__main__":
    print(mlproject(), end="")
