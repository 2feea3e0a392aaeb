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
EXAMPLES = {
    "main": "--dataset=folder --data_dir=images --preset=small",
    "pretrain": "--dataset=folder --data_dir=images --method=moco-v2 --temperature=0.2",
    "evaluate": "--run=RUN_ID --labels=none",
    "report": "--runs=RUN_ID,RUN_ID --criterion=label_free/rankme",
    "umm": "--run=RUN_ID --milestone=best --epochs=50",
    "grid": "--run=RUN_ID --over=alpha --values=0,0.01,0.1",
    "tune": "--run=RUN_ID --trials=20 --objective=label_free/held_out_loss",
    "sweep": "--models=resnet18,timm/vit_small_patch16_224.dino --dataset=folder --data_dir=images",
    "score": "embeddings.npy --views=other.npy --labels=classes.npy",
    "sync": "",
    "reap": "--silent_minutes=30",
    "prune": "--days=7 --dry_run",
}
# What looks after runs is no part of the MLflow Project: `mlflow run` would make a run for it.
COMMANDS: dict[str, type] = {**ENTRY_POINTS, "sync": Sync, "reap": Reap, "prune": Prune}
