"""Pictures of a data set for people to look at: drawn at random (`sample.py`), as the network gets them
(`as_trained.py`), in a grid (`contact_sheet.py`)."""
