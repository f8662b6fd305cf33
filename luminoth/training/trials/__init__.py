"""What is tried before a long run: a few steps, a few pictures, batches until the memory is full.

trial.py       lumi train --dry-run
overfit.py     lumi train --overfit N
batch_size.py  train.batch_size: auto
"""
