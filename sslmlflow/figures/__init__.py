"""Figures from plain data; nothing here knows of MLflow."""

import matplotlib

# Names of runs stand in figures as their users wrote them: a dollar sign in one is no formula.
matplotlib.rcParams["text.parse_math"] = False
