"""Measure milestones and keep what was found: without labels always, with labels where there are any."""

import dataclasses
import time
from collections.abc import Iterable

import numpy as np
import torch
from mlflow.entities import LoggedModel, LoggedModelInput
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.data.opening import changed_since
from sslmlflow.data.source import DatasetSpec, ImageSets
from sslmlflow.errors import UserError
from sslmlflow.evaluation.clusters import HeldOut
from sslmlflow.evaluation.embedder import Embedder, Wanted
from sslmlflow.evaluation.labelled import open_labelled
from sslmlflow.evaluation.log_best import log_best
from sslmlflow.evaluation.pictures import pictures, renumbered
from sslmlflow.evaluation.spectra import spectra
from sslmlflow.metrics.catalogue import CATALOGUE
from sslmlflow.metrics.results import Results
from sslmlflow.milestone.milestone import Milestone
from sslmlflow.tracking.bad_images import log_bad_images
from sslmlflow.tracking.logged_models import load_milestone, log_missing_metrics
from sslmlflow.tracking.run import TrackedRun
from sslmlflow.tracking.server import is_there
from sslmlflow.tracking.stored import CLUSTERED, PROBED, SPECTRA_FILE, epoch_of


def evaluate(
    tracked: TrackedRun,
    spec: DatasetSpec,
    sets: ImageSets,
    options: EvaluationOptions,
    models: Iterable[LoggedModel],
    device: torch.device,
    trained_on: str | None = None,
    pictured: bool = True,
) -> None:
    """Measure each milestone once; what was measured before with the same settings is not done again.

    `sets` are the images of `spec`. `trained_on`: fingerprint of those that every milestone must have been trained on,
    if any. `pictured`: whether pictures and spectra are kept, of which a run has one an epoch.
    """
    evaluation = _Evaluation(tracked, spec, sets, options, device, trained_on, pictured)
    for model in models:
        evaluation.measure(model)
    evaluation.embedder.end()


class _Evaluation:
    def __init__(
        self,
        tracked: TrackedRun,
        spec: DatasetSpec,
        sets: ImageSets,
        options: EvaluationOptions,
        device: torch.device,
        trained_on: str | None,
        pictured: bool,
    ) -> None:
        self._tracked = tracked
        self._pictured = pictured
        self._trained_on = trained_on
        self._sets = sets
        self.embedder = Embedder(self._sets, device)
        log_bad_images(tracked, self._sets)
        self._labelled = open_labelled(spec, self._sets, options)
        self._held_out = HeldOut(self._sets.test, options)
        self._clusters: NDArray[np.int64] | None = None  # of the last milestone
        if self._labelled is None:
            why = "labels are left alone" if options.labels == "none" else f"{spec.name} has no labels"
            print(f"{why}: no linear probe and no 5-NN")

    def measure(self, model: LoggedModel) -> None:
        """Measure what this milestone lacks."""
        truth = self._labelled.truth_digest if self._labelled else "unlabelled"
        clustered = f"{CLUSTERED}.{self._held_out.digest}.{truth}"
        probes = self._labelled.probes() if self._labelled else {}
        probed = {f"{PROBED}.{digest}": digest for digest in probes}
        left = {tag for tag in (clustered, *probed) if not is_there(self._tracked.client, model.tags.get(tag))}
        if not left:
            print(f"epoch {epoch_of(model):4d}: was evaluated with these settings in run {model.tags[clustered]}")
            return
        milestone = load_milestone(model.model_id)
        self._check_images(model, milestone)
        self.embedder.use(milestone)
        self._tracked.client.log_inputs(self._tracked.run_id, models=[LoggedModelInput(model.model_id)])
        embedding, started = Results(), time.perf_counter()
        embeddings = self.embedder.embed(Wanted("test"))
        embedding.time("embed_held_out", started)
        found = []
        if clustered in left:
            found += self._clustered(milestone, embeddings[1])
        found += [(probes[digest](self.embedder, embeddings), digest) for tag, digest in probed.items() if tag in left]
        for results, digest in [*found, (embedding, self._held_out.digest)]:
            self._log(model, results, digest)
        self._tracked.client.set_logged_model_tags(model.model_id, dict.fromkeys(left, self._tracked.run_id))
        log_best(self._tracked.client, str(model.source_run_id))
        told = [line for results, _ in found for line in _reported(results)]
        print(f"epoch {milestone.epoch:4d}: {', '.join(told)}")

    def _check_images(self, model: LoggedModel, milestone: Milestone) -> None:
        if self._trained_on and milestone.about["dataset"]["train_fingerprint"] != self._trained_on:
            raise UserError(
                f"the training images are not those that milestone {model.model_id} was trained on: images that it has "
                f"seen may be held out now. {changed_since(milestone.about)}Put the folder back as it was, and leave "
                "data_seed as it was; no other folder than the one trained on can be evaluated on."
            )

    def _clustered(self, milestone: Milestone, last: Tensor) -> list[tuple[Results, str]]:
        """What is found without labels, and what the classes say of it; each with its digest."""
        epoch, client, run_id = milestone.epoch, self._tracked.client, self._tracked.run_id
        digest = self._held_out.digest
        found = self._held_out.measure(last)
        results = [(found.results, digest)]
        if found.clusters is not None:
            self._clusters = renumbered(found.clusters, self._clusters)
            found = dataclasses.replace(found, clusters=self._clusters)
        if self._labelled:
            truth = self._labelled.measure_clusters(found.clusters, last)
            results.append((truth, f"{digest}.{self._labelled.truth_digest}"))
        if not self._pictured:
            return results
        for name, figure in pictures(epoch, found, last, self._sets.test):
            self._tracked.log_step_figure(figure, name, epoch)
        client.log_dict(run_id, spectra(milestone, last), SPECTRA_FILE.format(digest=digest, epoch=epoch))
        return results

    def _log(self, model: LoggedModel, results: Results, digest: str) -> None:
        client = self._tracked.client
        log_missing_metrics(client, self._tracked.run_id, model, results.logged(), (self._sets.name, digest))
        now = client.get_logged_model(model.model_id)
        tags = {key: f"undefined.{key.replace('/', '.')}" for key in (*results.values, *results.undefined)}
        for key in results.values:
            if tags[key] in now.tags:
                client.delete_logged_model_tag(model.model_id, tags[key])
        client.set_logged_model_tags(model.model_id, {tags[key]: why for key, why in results.undefined.items()})


def _reported(results: Results) -> list[str]:
    """Describe every metric that was attempted."""
    told = []
    for key, metric in CATALOGUE.items():
        if key in results.values:
            told.append(f"{metric.name} {metric.formatted(results.values[key])}")
        elif key in results.undefined:
            told.append(f"{metric.name} undefined ({results.undefined[key]})")
    return told
