"""What the metrics of a milestone warn of, in words; no torch, for reports read numbers only."""

from collections.abc import Mapping

from sslmlflow.metrics.catalogue import CRR_ADJUSTED, GAP_CRR, GAP_RETRIEVAL, SEEN_CRR, SEEN_RETRIEVAL

PARTIAL = ("label_free/lost_directions", "label_free/near_duplicates")
LEAST_LOST, LEAST_NEAR = 0.5, 0.1
MOST_SPREAD = 0.95  # of the room that there is, beyond which embeddings are spread as noise is
RESOLUTION = f"{CRR_ADJUSTED}_resolution"
EVIDENCE = (GAP_CRR, f"{GAP_CRR}_low", f"{GAP_CRR}_high", GAP_RETRIEVAL, SEEN_CRR, SEEN_RETRIEVAL, RESOLUTION)
LEAST_GAP = 0.1  # of the adjusted CRR of the training images


def partly_collapsed(values: Mapping[str, float]) -> list[str]:
    """Name, in words, the collapse that two metrics of a milestone show; none is no alarm.

    Dimensional: at least half of the directions are lost; sound encoders, untrained torchvision models among them, that
    we tried had 10 % at most. Local: at least a tenth of the images have near duplicates; those had none.
    """
    lost, near = (values.get(key, 0.0) for key in PARTIAL)
    found = []
    if lost >= LEAST_LOST:
        found.append(f"dimensional collapse: embeddings hardly vary in {100 * lost:.0f} % of their directions")
    if near >= LEAST_NEAR:
        found.append(f"local collapse: {100 * near:.0f} % of the images have nearly the embedding of another")
    return found


def memorising(values: Mapping[str, float], first: bool = False) -> list[str]:
    """Name, in words, the evidence that an encoder has memorised its training images; none is no alarm.

    At the first milestone of a training it is none: the images differ by themselves, or it began with an encoder that
    knew them.

    It takes an adjusted coding rate reduction of the training images beyond its resolution, a gap whose 95 % interval
    lies above 0 and that is at least a tenth of it, and a higher retrieval among the training images.
    """
    if any(key not in values for key in EVIDENCE):
        return []
    gap, low, high, gap_found, seen, seen_found, resolution = (values[key] for key in EVIDENCE)
    if seen < resolution or low <= 0 or gap < LEAST_GAP * seen or gap_found <= 0:
        return []
    interval = f"gap {gap:.2f}, 95 % interval {low:.2f} to {high:.2f}"
    from_the_start = "training images do better from the first milestone on, so no later alarm counts"
    what = from_the_start if first else "it memorises"
    return [
        f"{what}: adjusted CRR {seen:.2f} of training images, {seen - gap:.2f} of as many held-out ones "
        f"({interval}); retrieval {seen_found:.2f} and {seen_found - gap_found:.2f}"
    ]
