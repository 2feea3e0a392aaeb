"""What each entry point takes, said once: MLproject and the command line are made from here."""

from sslmlflow.config.evaluate import Evaluate
from sslmlflow.config.grid import Grid
from sslmlflow.config.main import Main
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.config.report import Report
from sslmlflow.config.score import Score
from sslmlflow.config.sweep import Sweep
from sslmlflow.config.tune import Tune
from sslmlflow.config.umm import Umm
from sslmlflow.config.upkeep import Prune, Reap, Sync

ENTRY_POINTS: dict[str, type] = {
    "main": Main,
    "pretrain": Pretrain,
    "evaluate": Evaluate,
    "report": Report,
    "umm": Umm,
    "grid": Grid,
    "tune": Tune,
    "sweep": Sweep,
    "score": Score,
}
# What looks after runs is no part of the MLflow Project: `mlflow run` would make a run for it.
COMMANDS: dict[str, type] = {**ENTRY_POINTS, "sync": Sync, "reap": Reap, "prune": Prune}
