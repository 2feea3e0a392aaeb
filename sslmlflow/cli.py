"""The command line: one sub-command per entry point; parse, validate, hand over."""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from sslmlflow.config import COMMANDS
from sslmlflow.config.options import as_text, options_of, read_config, unknown_name
from sslmlflow.environment import prepare_environment
from sslmlflow.errors import ConfigError, UserError, in_short
from sslmlflow.parent import end_with_mlflow_run
from sslmlflow.shortage import import_within_limit, out_of_memory, shortage
from sslmlflow.signals import Stopped, end_if_wished, listening, uninterrupted
from sslmlflow.texts import masked_streams
from sslmlflow.threads import guard_starts


def main(argv: Sequence[str] | None = None) -> int:
    """Run one entry point; 0 done, 1 could not go on, 2 a parameter was refused, 128 + n stopped by signal n."""
    with masked_streams():
        try:
            return _main(argv)
        except Exception:  # a mistake of ours; printed here, for a traceback may hold secrets, too
            traceback.print_exc()
            return 1


def _main(argv: Sequence[str] | None) -> int:
    config: object = None
    try:
        command, given = _parse(argv)
        config = read_config(COMMANDS[command], given)
        with listening():
            end_with_mlflow_run()
            try:
                _run(command, config)
            except Exception as error:
                code = _tell(error)
                end_if_wished()  # what failed may have, because it was to end: the server that does not answer
                return code
    except ConfigError as error:
        return _tell(error)
    except KeyboardInterrupt as error:
        print(f"sslmlflow: stopped{_way_on(config)}", file=sys.stderr)
        return error.exit_code if isinstance(error, Stopped) else 130
    return 0


def _tell(error: Exception) -> int:
    """Tell a person what went wrong, and give the exit code; what is no mistake of theirs is raised."""
    if isinstance(error, UserError):
        print(f"sslmlflow: {error}", file=sys.stderr)
        return error.exit_code
    if out_of_memory(error):
        print(f"sslmlflow: {shortage(error)}. Give this process more memory, or less to do.", file=sys.stderr)
        return 1
    # Told by its module: importing MLflow for its exception would slow down every --help.
    if not (isinstance(error, OSError) or type(error).__module__.startswith("mlflow")):
        raise error
    print(f"sslmlflow: {'' if isinstance(error, OSError) else 'MLflow answered: '}{in_short(error)}", file=sys.stderr)
    return 1


def _way_on(config: object) -> str:
    if not hasattr(config, "resume"):
        return "."
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        return f"; the same `mlflow run` with --run-id {run_id} goes on."
    return "; the same command with --resume=auto goes on."


def _run(command: str, config: object) -> None:
    try:
        with uninterrupted():  # half an import cannot be begun again
            prepare_environment()
            guard_starts()
            job = import_within_limit(f"sslmlflow.jobs.{command}")
        job.run(config)
    except KeyboardInterrupt:
        with uninterrupted():
            importlib.import_module("sslmlflow.tracking.run").close_adopted_run()
        raise


def _parse(argv: Sequence[str] | None) -> tuple[str, dict[str, str]]:
    first = next(iter(sys.argv[1:] if argv is None else argv), "")
    if first and not first.startswith("-") and first not in COMMANDS:
        raise ConfigError(unknown_name(first, COMMANDS, "command"))
    arguments, rest = _parser().parse_known_args(argv)
    given = {name: text for name, text in vars(arguments).items() if text is not None}
    command = given.pop("command")
    if command == "score" and rest and not rest[0].startswith("--"):
        given["embeddings"] = rest.pop(0)
    names = [word.split("=")[0].lstrip("-") for word in rest if word.startswith("--")]
    if rest and not names:
        raise ConfigError(f"{rest[0]} is not a parameter. Write --name=value.")
    # Unknown names are refused with the bad values, so that every mistake is told at once.
    return command, {**dict.fromkeys(names, ""), **given}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sslmlflow",
        description="Train image encoders without labels, watch them learn, choose a checkpoint; all in MLflow.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, config in COMMANDS.items():
        summary = (config.__doc__ or "").strip()
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        for option in options_of(config).values():
            allowed = "" if option.allowed.endswith("any text") else f"; {option.allowed}"
            default = as_text(option.default)
            command.add_argument(
                f"--{option.name}",
                metavar="VALUE",
                nargs="?" if option.kind is bool else None,
                const="true" if option.kind is bool else None,
                help=f"{option.help}{allowed} (default: {default})".replace("%", "%%"),
            )
    return parser
