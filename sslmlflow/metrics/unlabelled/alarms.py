"""What two metrics of the last layer show of a partial collapse, in words; no torch, for reports read numbers only."""

PARTIAL = ("lost_directions", "near_duplicates")
LEAST_LOST, LEAST_NEAR = 0.5, 0.1


def partly_collapsed(lost: float, near: float) -> list[str]:
    """Name, in words, the collapse that `lost_directions` and `near_duplicates` show; none is no alarm.

    Dimensional: at least half of the directions are lost; sound encoders, untrained torchvision models among them, that
    we tried had 10 % at most. Local: at least a tenth of the images have near duplicates; those had none.
    """
    found = []
    if lost >= LEAST_LOST:
        found.append(f"dimensional collapse: embeddings hardly vary in {100 * lost:.0f} % of their directions")
    if near >= LEAST_NEAR:
        found.append(f"local collapse: {100 * near:.0f} % of the images have nearly the embedding of another")
    return found
