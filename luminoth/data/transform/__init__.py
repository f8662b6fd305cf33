"""From a data set to records.

selection.py       which pictures and boxes are wanted (filters)
outcomes.py        what becomes of one picture: opened, checked, encoded
run.py             the whole way, in processes of this machine
beam.py            the whole way, as an Apache Beam pipeline
shards.py          the record files while they are being written
journal.py         what an interrupted run leaves, to go on from
workspace.py       the hidden folder in which all of it is made
splitting.py       data without splits: divided by ratio, with stratification.py
"""
