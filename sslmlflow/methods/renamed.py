"""Names of a method's tensors in the milestones and checkpoints of earlier builds."""

PARTS = {"key_encoder.": "key.encoder.", "key_projector.": "key.projector."}


def todays(name: str) -> str:
    """Today's name of a tensor.

    >>> todays("key_projector.layers.0.weight")
    'key.projector.layers.0.weight'
    """
    for earlier, now in PARTS.items():
        if name.startswith(earlier):
            return now + name.removeprefix(earlier)
    return name
