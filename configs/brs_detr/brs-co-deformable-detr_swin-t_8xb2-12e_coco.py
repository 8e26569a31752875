"""BRS-DETR, Swin-T, 12 epochs on COCO: Tables 5 and 6, accidents of the official code included."""

_base_ = ["./brs-co-deformable-detr_r50_8xb2-12e_coco.py", "../_base_/backbones/swin-t.py"]

model = _base_.swin_t
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
