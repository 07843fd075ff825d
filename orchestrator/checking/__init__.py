"""From a YAML file to a spec: every mistake at once, with its place and the remedy."""
