"""From a trained network and any image to classes, pictures and explanations."""
