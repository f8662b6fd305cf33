"""What a data set is made of, and which anchors and size of pictures suit it.

columns.py             one pass over the pictures: sizes and boxes as columns
statistics.py          counts, shares and histograms of them
anchor_fit.py          how well anchors overlap objects, at the network's input
anchor_search.py, anchor_suggestion.py    anchors and min_size that suit better
configured.py          the same questions asked of a configuration
report.py, page/       all of it as one value, and as a page
"""
