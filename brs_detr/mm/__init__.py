"""All that exists because of mmdet and mmcv: operators without a compiler, repairs, and backbones."""
