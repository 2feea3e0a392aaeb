"""The command line: one sub-command per entry point; parse, validate, hand over."""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence

from sslmlflow.config import COMMANDS, EXAMPLES
from sslmlflow.config.methods import METHOD_OPTIONS
from sslmlflow.config.options import AUTO, Option, options_of, read_config, unknown_name
from sslmlflow.environment import prepare_environment
from sslmlflow.errors import ConfigError, DivergedError, LeftQuietly, PartnerLostError, UserError, in_short
from sslmlflow.launch import LEFT, STOPPED, as_restarted, joined, launch, number, processes_of
from sslmlflow.parent import end_with_launcher, end_with_mlflow_run
from sslmlflow.shortage import import_within_limit, out_of_memory, shortage
from sslmlflow.signals import Stopped, end_if_wished, listening, uninterrupted
from sslmlflow.texts import masked_streams
from sslmlflow.threads import guard_starts

POSITIONAL = "positional_"  # before the name of what may be given without it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one entry point; 0 done, 1 could not go on, 2 a parameter was refused, 128 + n stopped by signal n.

    75 in another process than process 0, which reports why.
    """
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
        with listening(announced=not number()):
            end_with_mlflow_run()
            end_with_launcher()
            try:
                return _run(command, config, sys.argv[1:] if argv is None else argv)
            except LeftQuietly:
                return LEFT
            except Exception as error:
                code = _tell(error)
                end_if_wished()  # what failed may have, because it was to end: the server that does not answer
                return code
    except ConfigError as error:
        return _tell(error)
    except KeyboardInterrupt as error:
        if number():
            return LEFT
        print(f"sslmlflow: stopped{_way_on(config)}", file=sys.stderr)
        return error.exit_code if isinstance(error, Stopped) else 130


def _tell(error: Exception) -> int:
    """Tell a person what went wrong, and give the exit code; what is no mistake of theirs is raised."""
    if number() and isinstance(error, (DivergedError, PartnerLostError)):  # which process 0 reports
        return LEFT
    if isinstance(error, UserError):
        print(f"sslmlflow: {_of_process()}{error}", file=sys.stderr)
        return error.exit_code
    if out_of_memory(error):
        print(
            f"sslmlflow: {_of_process()}{shortage(error)}. Give this process more memory, or less to do.",
            file=sys.stderr,
        )
        return 1
    # Told by its module: importing MLflow for its exception would slow down every --help.
    if not (isinstance(error, OSError) or type(error).__module__.startswith("mlflow")):
        raise error
    print(f"sslmlflow: {'' if isinstance(error, OSError) else 'MLflow answered: '}{in_short(error)}", file=sys.stderr)
    return 1


def _of_process() -> str:
    return f"process {number()}: " if number() else ""


def _way_on(config: object) -> str:
    if not hasattr(config, "resume"):
        return "."
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        return f"; the same `mlflow run` with --run-id {run_id} goes on."
    return "; the same command with --resume=auto goes on."


def _run(command: str, config: object, argv: Sequence[str]) -> int:
    """Run a job in this process, or in several that are launched for it; the exit code."""
    try:
        with uninterrupted():  # half an import cannot be begun again
            prepare_environment()
            guard_starts()
            count = processes_of(config)
            job = import_within_limit(f"sslmlflow.jobs.{command}" if count == 1 else "torch.distributed.launcher.api")
        if count > 1:
            code = launch(argv, count)
            if code > STOPPED:  # perhaps before any process had begun
                _close_adopted_run()
            return code
        with joined(config):
            job.run(as_restarted(config))
    except KeyboardInterrupt:
        if not number():
            _close_adopted_run()
        raise
    return 0


def _close_adopted_run() -> None:
    if "MLFLOW_RUN_ID" in os.environ:
        with uninterrupted():
            importlib.import_module("sslmlflow.tracking.run").close_adopted_run()


def _parse(argv: Sequence[str] | None) -> tuple[str, dict[str, str]]:
    first = next(iter(sys.argv[1:] if argv is None else argv), "")
    if first and not first.startswith("-") and first not in COMMANDS:
        raise ConfigError(unknown_name(first, COMMANDS, "command"))
    arguments, rest = _parser(first).parse_known_args(argv)
    given = {name: text for name, text in vars(arguments).items() if text is not None}
    command = given.pop("command")
    options = options_of(COMMANDS[command])
    for name in [name for name in given if name.startswith(POSITIONAL)]:
        given.setdefault(name.removeprefix(POSITIONAL), given.pop(name))
    names = [word.split("=")[0].lstrip("-") for word in rest if word.startswith("--")]
    if rest and not names:
        raise ConfigError(f"{rest[0]} is not a parameter. Write --name=value.")
    of_method = [f"{name}={given.pop(name)}" for name in METHOD_OPTIONS if name in given and name not in options]
    if of_method:
        whole = [text for text in (given.get("method_options", AUTO),) if text != AUTO]
        given["method_options"] = ",".join([*whole, *of_method])
    if not number():
        _note_earlier_spellings(options, given)
    # Unknown names are refused with the bad values, so that every mistake is told at once.
    return command, {**dict.fromkeys(names, ""), **given}


def _note_earlier_spellings(options: Mapping[str, Option], given: Mapping[str, str]) -> None:
    for name, text in given.items():
        if name in options and (today := options[name].earlier(text)) != text:
            print(f"note: {name}={text} is spelled {name}={today} now", file=sys.stderr)


def _parser(given: str) -> argparse.ArgumentParser:
    """The parser of all commands, with the options of the one that is given: those of all take a while."""
    parser = argparse.ArgumentParser(
        prog="sslmlflow",
        description="Train image encoders without labels, watch them learn, choose a checkpoint; all in MLflow.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, config in COMMANDS.items():
        summary = (config.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=summary,
            description=summary,
            usage="%(prog)s [--PARAMETER=VALUE ...]",
            epilog=f"Example: sslmlflow {name} {EXAMPLES[name]}".strip(),
            allow_abbrev=False,
        )
        if name == given:
            _add_options(command, config)
    return parser


def _add_options(command: argparse.ArgumentParser, config: type) -> None:
    """Every option of a command, its own first, then by what they are about."""
    options = options_of(config)
    by_group: dict[str, list[Option]] = {owner.__doc__ or "": [] for owner in config.__mro__}
    for option in options.values():
        by_group[option.group].append(option)
    for title, members in by_group.items():
        if members:
            group = command.add_argument_group("Parameters of its own" if title == config.__doc__ else title)
            for option in members:
                _add(group, option)
    if "method_options" in options:
        group = command.add_argument_group("The method's own settings, each with the methods that take it")
        for name, takers in METHOD_OPTIONS.items():
            group.add_argument(f"--{name}", metavar="VALUE", help=_of_methods(takers))


def _of_methods(takers: Mapping[str, Option]) -> str:
    """What an option means to each method that takes it; methods to which it means the same stand together."""
    by_meaning: dict[str, list[str]] = {}
    for method, option in takers.items():
        by_meaning.setdefault(option.help, []).append(f"{method}: {option.text(option.default)}")
    return "; ".join(f"{meaning} ({', '.join(said)})" for meaning, said in by_meaning.items())


def _add(group: argparse._ArgumentGroup, option: Option) -> None:
    allowed = "" if option.allowed.endswith("any text") else f"; {option.allowed}"
    if option.positional:
        group.add_argument(f"{POSITIONAL}{option.name}", metavar=option.name.upper(), nargs="?", help=argparse.SUPPRESS)
    group.add_argument(
        f"--{option.name}",
        metavar="VALUE",
        nargs="?" if option.kind is bool else None,
        const="true" if option.kind is bool else None,
        help=f"{option.help}{allowed} (default: {option.text(option.default)})".replace("%", "%%"),
    )
