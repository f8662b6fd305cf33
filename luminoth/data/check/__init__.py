"""`lumi dataset check`: everything that is wrong, or looks wrong, with a data set; nothing is written or changed.

survey.survey_split            looks at every picture of a split once, in parallel (looks.py)
run.judge                      asks of what was kept
    pictures.py                    what readers and records had to say of single pictures and boxes
    copies.py                      which pictures are in more than one split, and whether their labels agree
    balance.py                     which classes have too little
    anchors.py                     which objects are too small for the configured detector
    names.py, shapes.py            which labels look wrong

Each answer is a `Concern` (concerns.py) of a severity; together they are a verdict (report.py).
"""
