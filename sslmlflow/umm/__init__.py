"""UMM, the Undoing Memorization Mechanism: fine-tune the late part of an encoder by a bi-level objective."""
