"""Several devices and machines as one.

cluster.py     what `TF_CONFIG` says
rendezvous.py  waits until all workers are there
strategy.py    devices and workers, and what passes between them
teamwork.py    what they agree on: the run, the state, when to stop
"""
