"""The default data set: always the same, fairly held out, readable but not solved by plain pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sslmlflow.data import DATASETS, digit_scenes, open_images, open_labels
from sslmlflow.data.digit_scenes import SCANS, SCENES_PER_SCAN, scan_of, split
from sslmlflow.data.source import DatasetSpec, Images, LabelSets
from sslmlflow.errors import ConfigError

SPEC = DatasetSpec("digit-scenes", None, download=False, image_size=None, max_train=None, max_test=None)
NOWHERE = Path("/nonexistent")


def test_the_number_of_scans_is_scikit_learns() -> None:
    assert len(load_digits().target) == SCANS


def everything(images: Images) -> np.ndarray:
    return images.read(np.arange(len(images)))


def labels_of(spec: DatasetSpec) -> LabelSets:
    labels = open_labels(spec, NOWHERE)
    assert labels is not None
    return labels


def test_shapes_and_counts() -> None:
    sets, labels = open_images(SPEC, NOWHERE), labels_of(SPEC)
    assert sets.train.shape == sets.test.shape == (1, 32, 32)
    assert len(sets.train) == len(labels.train) == 2 * 1438
    assert len(sets.test) == len(labels.test) == 2 * 359
    assert set(labels.train) == set(labels.test) == set(range(10))
    assert labels.classes == tuple("0123456789")
    assert open_labels(replace(SPEC, labels="none"), NOWHERE) is None


def test_held_out_by_scan() -> None:
    train, test = split()
    assert not set(train) & set(test)
    assert sorted([*train, *test]) == list(range(1797))
    assert (np.bincount(scan_of(test))[test] == SCENES_PER_SCAN).all()


def test_no_two_scenes_are_alike() -> None:
    sets = open_images(SPEC, NOWHERE)
    scenes = {scene.tobytes() for side in (sets.train, sets.test) for scene in everything(side)}
    assert len(scenes) == 2 * 1797


def test_the_labels_are_those_of_the_scans() -> None:
    labels, digits = labels_of(SPEC), load_digits().target
    for known, scans in zip((labels.train, labels.test), split(), strict=True):
        assert known.tolist() == [digits[scan] for scan in scans for _ in range(2)]


def test_always_the_same_scenes_whatever_the_seed() -> None:
    first = open_images(SPEC, NOWHERE)
    digit_scenes._scenes.cache_clear()
    again = open_images(replace(SPEC, seed=5), NOWHERE)
    assert first.train.fingerprint == again.train.fingerprint
    assert first.test.fingerprint == again.test.fingerprint
    # Numbers noted when the data set was made: results of other days must stay comparable.
    assert everything(first.train).mean() == pytest.approx(50.8696, abs=1e-3)
    assert everything(first.test).std() == pytest.approx(36.9750, abs=1e-3)


def test_limits_and_size() -> None:
    few = replace(SPEC, max_train=50, max_test=20, seed=3)
    sets, labels = open_images(few, NOWHERE), labels_of(few)
    whole_sets, whole = open_images(SPEC, NOWHERE), labels_of(SPEC)
    for images, known, all_images, all_known in (
        (sets.train, labels.train, whole_sets.train, whole.train),
        (sets.test, labels.test, whole_sets.test, whole.test),
    ):
        label = {i.tobytes(): k for i, k in zip(everything(all_images), all_known, strict=True)}
        assert [label[i.tobytes()] for i in everything(images)] == known.tolist()
    assert (len(sets.train), len(sets.test)) == (50, 20)
    assert open_images(replace(few, image_size=24), NOWHERE).test.shape == (1, 24, 24)


def test_plain_pixels_do_not_solve_it() -> None:
    """Logistic regression on pixels: far from the 95 % it has on the scans, yet above chance."""
    sets, labels = open_images(SPEC, NOWHERE), labels_of(SPEC)
    scaler = StandardScaler()
    train = scaler.fit_transform(everything(sets.train).reshape(len(sets.train), -1))
    test = scaler.transform(everything(sets.test).reshape(len(sets.test), -1))
    with threadpool_limits(1):  # many threads at so small a problem only wait for one another
        model = LogisticRegression(C=0.001, max_iter=200).fit(train, labels.train)
    assert 0.15 < model.score(test, labels.test) < 0.3


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert next(iter(DATASETS)) == "digit-scenes"
    with pytest.raises(ConfigError, match="Did you mean 'cifar10'"):
        open_images(replace(SPEC, name="cifar-10"), NOWHERE)
