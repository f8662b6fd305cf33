"""Networks that turn pictures into feature maps.

A backbone is a `Layer` that states how it wants its pixels (`pixels`), returns a tuple of maps, finest first, with the
`strides` and `out_channels` it states, names its parts (`groups`, `group(name)`) for freezing, and may carry a `tail`:
the layers that follow RoI pooling in a C4 detector. All variables exist as soon as a layer is constructed.
"""
