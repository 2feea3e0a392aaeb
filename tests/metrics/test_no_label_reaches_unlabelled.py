"""No label can reach a label-free metric: no parameter to take one, no import of anything that needs one."""

import ast
import re
from pathlib import Path

import pytest

import sslmlflow.metrics.unlabelled

PACKAGE = Path(sslmlflow.metrics.unlabelled.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

LABEL_WORDS = re.compile(
    r"(^|_)(y|ys|label|labels|labelled|target|targets|class|classes|cls|truth|gt|annotation|annotations"
    r"|category|categories|ground|supervised)(_|\d|$)",
    re.IGNORECASE,
)
# Packages below which labels are held, or asked for.
FORBIDDEN = (
    "sslmlflow.metrics.labelled",
    "sslmlflow.data",
    *(f"sslmlflow.{room}" for room in ("jobs", "search", "runs", "reporting", "evaluation")),
    "sklearn.linear_model",
    "sklearn.svm",
    "sklearn.discriminant_analysis",
    "sklearn.naive_bayes",
    "sklearn.ensemble",
    "sklearn.tree",
    "sklearn.neural_network",
    "sklearn.model_selection",
    "sklearn.datasets",
    "torchvision.datasets",
)
# From sklearn.metrics, what compares points or two partitions of one's own making.
ALLOWED_SCORERS = {
    "pairwise_distances",
    "pairwise",
    "silhouette_score",
    "silhouette_samples",
    "adjusted_mutual_info_score",
}


def parameters(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            a = node.args
            yield from (arg.arg for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg] if arg)
            if a.kwarg:
                yield f"labels through **{a.kwarg.arg}"
        elif isinstance(node, ast.ClassDef):
            yield from (field.target.id for field in node.body if isinstance(field, ast.AnnAssign))


def imports(tree, package="sslmlflow.metrics.unlabelled"):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def ways_in(source):
    """Name every way by which a label could come into a module."""
    tree = ast.parse(source)
    found = [f"parameter {name}" for name in parameters(tree) if name.startswith("labels ") or LABEL_WORDS.search(name)]
    for name in imports(tree):
        scorer = name.startswith("sklearn.metrics") and name.split(".")[-1] not in ALLOWED_SCORERS
        if scorer or name.startswith(FORBIDDEN) or "Classifier" in name:
            found.append(f"import {name}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_way_in_for_labels(path):
    assert ways_in(path.read_text()) == []


def test_all_modules_are_walked():
    assert {"coding_rate.py", "collapse.py", "layer.py", "spectrum.py"} <= {path.name for path in MODULES}


@pytest.mark.parametrize(
    "source",
    [
        "def f(Z, y): ...",
        "def f(Z, *, true_labels=None): ...",
        "def f(Z, class_of): ...",
        "def f(Z, /, ground_truth): ...",
        "def f(Z, *targets): ...",
        "def f(Z, **options): ...",
        "async def f(y_true): ...",
        "g = lambda Z, gt: 0",
        "class Settings:\n    classes: int",
        "from sslmlflow.metrics.labelled.knn import knn_accuracy",
        "from sslmlflow.metrics import labelled",
        "import sslmlflow.metrics.labelled.knn as k",
        "from ..labelled import knn",
        "from .. import labelled",
        "from sslmlflow.data import source",
        "from sklearn.neighbors import KNeighborsClassifier",
        "from sklearn.linear_model import LogisticRegression",
        "from sklearn.metrics import accuracy_score",
        "import sklearn.metrics",
    ],
)
def test_the_walk_sees_a_way_in(source):
    assert len(ways_in(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def f(Z, clusters, seed, query, eps, early): ...",
        "from sklearn.metrics import silhouette_score",
        "from sklearn.neighbors import NearestNeighbors",
        "from .arrays import as_matrix",
    ],
)
def test_the_walk_lets_the_rest_pass(source):
    assert ways_in(source) == []
