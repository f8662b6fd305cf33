"""Reports as one HTML file that needs no network: a frame with its style, and plots that go with it.

`render.py` fills a template that extends `frame.html`; `figures.py` makes matplotlib's plots look like the page, in
light and dark. What a report says is the business of its own part: this one knows nothing of Luminoth.
"""
