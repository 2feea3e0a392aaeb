"""Self-supervised methods by name; to add one, write its file and declare it in `config.methods`."""

import dataclasses
import importlib

import torch

from sslmlflow.config.methods import METHODS, read_method_options
from sslmlflow.encoders import Encoder, is_transformer
from sslmlflow.methods.base import FINISHED, Batch, Method, Progress, Recipe

__all__ = [
    "FINISHED",
    "METHODS",
    "Batch",
    "Method",
    "Progress",
    "Recipe",
    "build_method",
    "method_class",
    "recipe_of",
]


def method_class(name: str) -> type[Method]:
    """The class of a declared method."""
    module, _, of = METHODS[name].path.rpartition(".")
    found: type[Method] = getattr(importlib.import_module(module), of)
    return found


def recipe_of(method: str, encoder: str) -> Recipe:
    """How a declared method trains an encoder by default."""
    declared = method_class(method)
    return (is_transformer(encoder) and declared.transformer_recipe) or declared.recipe


def build_method(name: str, method_options: str | None, encoder: Encoder, seed: int) -> Method:
    """A method around `encoder`, its heads drawn from `seed`; the global random state is left alone."""
    options = read_method_options(name, method_options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return method_class(name)(encoder, **dataclasses.asdict(options))
