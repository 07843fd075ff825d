"""Pages about all sweeps of a store, served to a browser on this machine; they only read."""
