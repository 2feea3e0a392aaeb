"""Whether a milestone shows that its training memorises, with the evidence; no torch, for reports read numbers only."""

from collections.abc import Mapping

from sslmlflow.metrics.catalogue import CRR_ADJUSTED, GAP_CRR, GAP_RETRIEVAL, SEEN_CRR, SEEN_RETRIEVAL
from sslmlflow.reporting.history import Course

RESOLUTION = f"{CRR_ADJUSTED}_resolution"
FROM_THE_FIRST = (
    "The first milestone shows it already: the training images differ from the held-out ones, or the encoder that it "
    "began with had seen them."
)
EVIDENCE = (GAP_CRR, f"{GAP_CRR}_low", f"{GAP_CRR}_high", GAP_RETRIEVAL, SEEN_CRR, SEEN_RETRIEVAL, RESOLUTION)
LEAST_GAP = 0.1  # of the adjusted CRR of the training images


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


def memorised(course: Course) -> str:
    """Which milestones of a training show that it memorises, and the evidence of the last of these.

    Where none does, the last milestone's gap; nothing for those of earlier builds, which measured none.
    """
    found = {}
    for epoch in course.epochs:
        at = {key: course.values[key][epoch] for key in EVIDENCE if epoch in course.values.get(key, {})}
        if alarm := memorising(at):
            found[epoch] = alarm[0]
    if not found:
        return _no_sign(course)
    words = f"Memorisation at epoch {', '.join(map(str, found))}; at epoch {max(found)} {found[max(found)]}."
    return f"{words} {FROM_THE_FIRST}" if course.epochs[0] in found else words


def _no_sign(course: Course) -> str:
    gap, low, high = (course.column(key)[-1] for key in (GAP_CRR, f"{GAP_CRR}_low", f"{GAP_CRR}_high"))
    if gap is None or low is None or high is None:
        return ""
    return (
        f"No milestone shows memorisation: at the last one training images are ahead by {gap:.2f} nats of adjusted CRR "
        f"(95 % interval {low:.2f} to {high:.2f})."
    )
