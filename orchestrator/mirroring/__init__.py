"""Sweeps kept at an address (s3://, gs://): they run in a folder of this machine, and a copy there follows in seconds.

An object store cannot append, lock or rename, so the journal, its lock and its fsync work on this machine's disk as
they always do. What another machine needs to go on lies at the address, in whole objects:

    NAME/journal/00000 ...              the journal, cut every PART bytes
    NAME/trials/001/last.pt best.pt confusions.npz test_confusions.npz
    NAME/lease.json                     whose turn it is to write (lease.py)
    NAME/trials/001/attempt             likewise, of a trial that a node of a cluster trains (nodes.py)
"""
