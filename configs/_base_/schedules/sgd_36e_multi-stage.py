"""As `sgd_36e.py`, with the learning rate of multi-stage detectors under a ranking loss (BRS, S.3.1)."""

_base_ = "./sgd_36e.py"

optim_wrapper = dict(optimizer=dict(lr=0.012))
