"""The files in a milestone's folder."""

ABOUT_FILE = "milestone.json"  # what it is: epoch, encoder, method, images, preprocessing (see `description`)
ENCODER_FILE = "encoder.safetensors"  # the weights that embed images
METHOD_FILE = "method.safetensors"  # the rest of the method's state: heads, queues, momentum copies
