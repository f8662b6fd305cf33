"""Faster R-CNN (Ren et al. 2015): `faster_rcnn.py` tells the story, the other files are its stages."""
