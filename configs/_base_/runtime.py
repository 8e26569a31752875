"""What every run shares: registration, logging, process set-up."""

custom_imports = dict(imports=["co_detr"])
default_scope = "mmdet"

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=10),
    param_scheduler=dict(type="ParamSchedulerHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)
log_level = "INFO"

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)

sync_bn = None  # "torch": BatchNorm that is trained takes its statistics from the images of all GPUs

fsdp = False  # share weights, gradients and moments out among the GPUs

load_from = None
resume = False
