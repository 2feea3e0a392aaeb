"""The search over the parameters of UMM: its space, its study, and what a sound trial is."""
