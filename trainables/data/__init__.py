"""From a dataset on disk to splits of images and masks."""
