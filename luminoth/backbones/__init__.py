"""Networks that turn pictures into feature maps.

A backbone is a `keras.layers.Layer` that states its `stride` and `out_channels`, turns pixels into what its
weights expect (`normalise`), and may carry a `tail`: the layers that follow RoI pooling in a C4 detector.
All variables exist as soon as a layer is constructed.
"""
