"""As `sgd_12e.py`, with the learning rate of one-stage detectors under a focal loss."""

_base_ = "./sgd_12e.py"

optim_wrapper = dict(optimizer=dict(lr=0.01))
