"""What mmdet and mmcv need: operators without a compiler, repairs, and backbones."""
