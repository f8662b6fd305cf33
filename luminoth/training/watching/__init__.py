"""What one sees of a training.

watch.py          all of it, as the loop uses it
summaries.py      TensorBoard's curves, texts, graph and histograms
pictures.py       the same few pictures each time
metrics_log.py    metrics.jsonl
profile.py        a profile of a few steps
clock.py, pace.py where the time goes, and when something is due
memory.py         of the host and of GPUs
figures.py        the table at the end
whole_appends.py  lines that are never half-written
"""
