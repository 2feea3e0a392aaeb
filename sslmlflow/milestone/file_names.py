"""The files in a milestone's folder."""

ABOUT_FILE = "milestone.json"
ENCODER_FILE, METHOD_FILE = "encoder.safetensors", "method.safetensors"
