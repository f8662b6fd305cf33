"""One update of the weights, and what decides how far they go.

step.py            losses, gradients, their mean over all replicas, clipping; compiled
optimizers.py      from gradients to updates
schedules.py       the learning rate of each step
layer_rates.py     multipliers of it, by layer
loss_scale.py      float16's loss scale
moving_average.py  averaged weights
"""
