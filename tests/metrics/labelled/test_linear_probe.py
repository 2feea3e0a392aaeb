import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris

from sslmlflow.metrics.labelled.linear_probe import paper_probe, standardised_probe


def split(load):
    X, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    return X[::2].astype(np.float32), y[::2], X[1::2].astype(np.float32), y[1::2]


DIGITS, IRIS = split(load_digits), split(load_iris)


def softmax_regression_by_newton(X, y, penalty=1.0, steps=30):
    """Multinomial regression of summed cross-entropy + penalty/2 |W|^2 (bias free), by full Newton steps."""
    n, k = len(X), y.max() + 1
    X1 = np.hstack([X, np.ones((n, 1))])
    p = X1.shape[1]
    W = np.zeros((k, p))
    ridge = np.diag(np.tile(np.r_[np.full(p - 1, penalty), 1e-9], k))
    for _ in range(steps):
        logits = X1 @ W.T
        P = np.exp(logits - logits.max(1, keepdims=True))
        P /= P.sum(1, keepdims=True)
        gradient = ((P - np.eye(k)[y]).T @ X1).ravel() + ridge @ W.ravel()
        hessian = ridge.copy()
        for a in range(k):
            for b in range(k):
                weight = P[:, a] * ((a == b) - P[:, b])
                hessian[a * p : (a + 1) * p, b * p : (b + 1) * p] += (X1 * weight[:, None]).T @ X1
        W -= np.linalg.solve(hessian, gradient).reshape(k, p)
    return W


def test_standardised_probe_is_multinomial_regression_on_standardised_features():
    train_Z, train_y, test_Z, test_y = IRIS
    mean, deviation = train_Z.mean(0), train_Z.std(0)
    W = softmax_regression_by_newton((train_Z - mean) / deviation, train_y)
    logits = np.hstack([(test_Z - mean) / deviation, np.ones((len(test_Z), 1))]) @ W.T
    assert standardised_probe(*IRIS) == np.mean(logits.argmax(1) == test_y)


def test_standardised_probe_learns_digits_from_numpy_and_torch():
    accuracy = standardised_probe(*DIGITS)
    assert 0.93 < accuracy < 0.99
    assert standardised_probe(*(torch.from_numpy(part) for part in DIGITS)) == accuracy


def test_standardised_probe_ignores_scale_shift_and_constant_features():
    train_Z, train_y, test_Z, test_y = DIGITS
    expected = pytest.approx(standardised_probe(*DIGITS), abs=0.005)
    scale = np.random.default_rng(0).uniform(1e-3, 1e3, size=train_Z.shape[1])
    assert standardised_probe(train_Z * scale + 7, train_y, test_Z * scale + 7, test_y) == expected
    constant = [np.hstack([Z, np.full((len(Z), 3), 0.1, np.float32)]) for Z in (train_Z, test_Z)]
    assert standardised_probe(constant[0], train_y, constant[1], test_y) == expected


def test_labels_of_any_kind_are_given_back_and_unseen_ones_count_as_wrong():
    Z = np.repeat(np.eye(2), 10, axis=0)
    y = np.repeat(["cat", "dog"], 10)
    assert standardised_probe(Z, y, Z, y) == 1
    assert standardised_probe(Z, y, Z, np.repeat(["dog", "bee"], 10)) == 0
    assert paper_probe(lambda _: torch.from_numpy(Z), y, Z, np.repeat(["cat", "bee"], 10)) == 0.5


def test_paper_probe_learns_digits_and_draws_every_epoch_afresh():
    train_Z, train_y, test_Z, test_y = DIGITS
    drawn = []

    def draw(epoch):
        drawn.append(epoch)
        noise = torch.randn(train_Z.shape, generator=torch.Generator().manual_seed(epoch))
        return torch.from_numpy(train_Z) + 0.1 * noise

    assert paper_probe(draw, train_y, test_Z, test_y) > 0.9
    assert drawn == list(range(20))


def test_paper_probe_learns_from_images_stored_class_by_class():
    train_Z, train_y, test_Z, test_y = DIGITS
    order = np.argsort(train_y)
    by_class = torch.from_numpy(train_Z[order])
    assert paper_probe(lambda _: by_class, train_y[order], test_Z, test_y, epochs=3, batch_size=30) > 0.85


def test_paper_probe_sees_the_scale_of_features_and_the_standardised_one_does_not():
    train_Z, train_y, test_Z, test_y = DIGITS
    tiny, tiny_test = 1e-3 * train_Z, 1e-3 * test_Z
    by_paper = paper_probe(lambda _: torch.from_numpy(tiny), train_y, tiny_test, test_y)
    assert by_paper < standardised_probe(tiny, train_y, tiny_test, test_y) - 0.05


def test_recipe_cycles_learning_rate_and_momentum(monkeypatch):
    seen = []

    class Spy(torch.optim.Adam):
        def step(self, closure=None):
            group = self.param_groups[0]
            seen.append((group["lr"], group["betas"][0], group["weight_decay"]))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Spy)
    train_Z, train_y, test_Z, test_y = DIGITS
    paper_probe(lambda _: torch.from_numpy(train_Z), train_y, test_Z, test_y)
    rates, betas, decays = zip(*seen, strict=True)
    assert len(seen) == 20 * 4  # 899 images in batches of 256
    assert max(rates) == pytest.approx(0.08, rel=1e-3)
    assert rates[-1] < rates[0] < 0.01
    assert (betas[0], min(betas)) == pytest.approx((0.95, 0.85), abs=1e-4)
    assert np.argmax(rates) == np.argmin(betas)
    assert set(decays) == {1e-4}


def test_paper_probe_repeats_itself_and_leaves_global_randomness_alone():
    train_Z, train_y, test_Z, test_y = DIGITS

    def accuracy(seed):
        return paper_probe(lambda _: torch.from_numpy(train_Z), train_y, test_Z, test_y, epochs=1, seed=seed)

    before = torch.get_rng_state()
    first = accuracy(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(999)
    assert accuracy(3) == first
    assert len({accuracy(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_paper_probe_learns_inside_evaluation_modes(mode):
    train_Z, train_y, test_Z, test_y = DIGITS
    with mode():
        embeddings = torch.from_numpy(train_Z) * 1
        assert paper_probe(lambda _: embeddings, train_y, test_Z, test_y) > 0.9


GOOD = (np.eye(4), [0, 1, 0, 1], np.eye(4), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("position", "bad", "message"),
    [
        (0, np.full((4, 4), np.nan), "not finite"),
        (2, np.full((4, 4), np.inf), "not finite"),
        (2, np.eye(3), "one label per embedding"),
        (2, np.ones((4, 3)), "features|shape"),
        (3, [0, 1], "one label per embedding"),
        (1, [0, 0, 0, 0], "two classes"),
        (1, np.eye(4), "one class label per image"),
        (0, np.ones((3, 4)), "one label per embedding|shape"),
    ],
)
def test_bad_input_is_refused(position, bad, message):
    arguments = [*GOOD]
    arguments[position] = bad
    train_Z, train_y, test_Z, test_y = arguments
    with pytest.raises(ValueError, match=message):
        standardised_probe(train_Z, train_y, test_Z, test_y)
    with pytest.raises(ValueError, match=message):
        paper_probe(lambda _: torch.from_numpy(train_Z), train_y, test_Z, test_y)


@pytest.mark.parametrize("option", ["epochs", "batch_size"])
def test_no_epoch_and_no_batch_are_refused(option):
    with pytest.raises(ValueError, match="epochs and batch_size must be at least 1"):
        paper_probe(lambda _: torch.eye(4), *GOOD[1:], **{option: 0})


def test_paper_probe_starts_from_random_weights():
    """At a rate that moves nothing, the accuracy is that of the start."""
    train_Z, train_y, test_Z, test_y = DIGITS
    draw = lambda _: torch.from_numpy(train_Z)  # noqa: E731
    found = [paper_probe(draw, train_y, test_Z, test_y, epochs=1, peak_lr=1e-12, seed=seed) for seed in range(5)]
    assert len(set(found)) == 5
    assert max(found) < 0.35


def test_divergence_is_told():
    with pytest.raises(ValueError, match="diverged"):
        paper_probe(lambda _: torch.eye(4), [0, 1, 0, 1], np.eye(4), [0, 1, 0, 1], peak_lr=1e38)
