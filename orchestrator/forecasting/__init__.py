"""What a sweep would take and find, told before it runs: in virtual time, on recorded or rehearsed curves."""
