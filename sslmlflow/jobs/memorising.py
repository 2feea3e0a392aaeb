"""Whether a milestone shows that its training memorises, with the evidence; no torch, for reports read numbers only."""

from collections.abc import Mapping

from sslmlflow.jobs.course import Course
from sslmlflow.measures import CRR_ADJUSTED, GAP_CRR, GAP_RETRIEVAL, RETRIEVAL

EVIDENCE = (GAP_CRR, f"{GAP_CRR}_low", f"{GAP_CRR}_high", CRR_ADJUSTED, GAP_RETRIEVAL, RETRIEVAL)
LEAST_GAP = 0.1  # of the adjusted CRR of the training images


def memorising(values: Mapping[str, float]) -> list[str]:
    """Name, in words, the evidence that an encoder has memorised its training images; none is no alarm.

    It takes a gap of the adjusted coding rate reduction whose 95 % interval lies above 0 and that is at least a tenth
    of what the training images have, and a higher retrieval among these.
    """
    gap, low, high, held_out, found_gap, found = (values.get(key) for key in EVIDENCE)
    if gap is None or low is None or high is None or held_out is None or found_gap is None or found is None:
        return []
    if low <= 0 or gap < LEAST_GAP * (held_out + gap) or found_gap <= 0:
        return []
    return [
        f"it memorises: adjusted CRR {held_out + gap:.2f} of training images, {held_out:.2f} of held-out ones (gap "
        f"{gap:.2f}, 95 % interval {low:.2f} to {high:.2f}); retrieval {found + found_gap:.2f} and {found:.2f}"
    ]


def memorised(course: Course) -> str:
    """Which milestones of a training show that it memorises, and the evidence of the last of these; empty if none."""
    found = {}
    for epoch in course.epochs:
        at = {key: course.values[key][epoch] for key in EVIDENCE if epoch in course.values.get(key, {})}
        if alarm := memorising(at):
            found[epoch] = alarm[0]
    if not found:
        return ""
    epochs = ", ".join(map(str, found))
    return f"Memorisation at epoch {epochs}; at epoch {max(found)} {found[max(found)]}."
