"""From a checked spec to a run on this machine or cluster."""
