"""Train Hugging Face's Deformable DETR with Rank & Sort Loss, all decoder layers in one call."""

import torch
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher

from brs_detr.losses import MIN_QUALITY, rank_sort_loss, self_balancing_weight


def ranking_loss(logits, labels, device, pred_boxes, config, layer_logits, layer_boxes, **kwargs):
    """Return the total, parts [L] of it for L decoder layers, and None: what `transformers` expects of its losses."""
    labels = labels * len(layer_logits)  # the matcher treats layers as more images
    matcher = DeformableDetrHungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
    matches = matcher({"logits": layer_logits.flatten(0, 1), "pred_boxes": layer_boxes.flatten(0, 1)}, labels)
    inds = torch.cat([i * layer_logits.shape[2] + queries for i, (queries, _) in enumerate(matches)])  # [P]
    classes = torch.cat([image["class_labels"][i] for image, (_, i) in zip(labels, matches, strict=True)])
    objects = torch.cat([image["boxes"][i] for image, (_, i) in zip(labels, matches, strict=True)])
    boxes = layer_boxes.flatten(0, 2)[inds]  # [P, 4], cxcywh in fractions of the image, as the objects are
    boxes_xyxy, objects_xyxy = box_convert(torch.stack([boxes, objects]), "cxcywh", "xyxy")
    targets = torch.zeros_like(layer_logits)  # [L, images, queries, classes]; a positive stays above 0
    targets.flatten(0, 2)[inds, classes] = box_iou(boxes_xyxy.detach(), objects_xyxy).diagonal().clamp(MIN_QUALITY)
    loss = rank_sort_loss(layer_logits.flatten(1), targets.flatten(1))  # each layer ranks all its queries and classes
    loss_box = 5 * (boxes - objects).abs().sum(1) + 2 * generalized_box_iou_loss(boxes_xyxy, objects_xyxy)
    loss_box = loss_box.view(len(layer_logits), -1).sum(1)  # balanced below, it has the value of rank + sort
    return (sum(loss) + self_balancing_weight(sum(loss), loss_box) * loss_box).sum(), loss._asdict(), None


def make_images(num_images):
    """Return dark images [B, 3, 64, 64] with a red or blue box on each, and their labels."""
    images, labels = 0.1 * torch.rand(num_images, 3, 64, 64), []
    for image in images:
        (x, y), (w, h), label = torch.randint(32, (2,)), torch.randint(16, 33, (2,)), torch.randint(2, (1,))
        image[2 * label, y : y + h, x : x + w] += 0.8
        labels.append({"boxes": torch.tensor([[x + w / 2, y + h / 2, w, h]]) / 64, "class_labels": label})
    return {"pixel_values": images, "labels": labels}


def main(steps=200):
    """Train on eight new images per step; return the losses [L] of each step and the model."""
    torch.manual_seed(0)
    backbone = ResNetConfig(hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic", out_features=["stage3"])
    sizes = dict(d_model=64, encoder_layers=1, decoder_layers=3, num_feature_levels=1, num_queries=20, num_labels=2)
    # Where boxes are near-equal, only the class cost lets a query keep its object from step to step.
    model = DeformableDetrForObjectDetection(DeformableDetrConfig(backbone_config=backbone, class_cost=5, **sizes))
    model.loss_function = ranking_loss
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(steps):
        output = model(**make_images(8))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append({name: round(value.mean().item(), 3) for name, value in output.loss_dict.items()})
    print(f"first step: {losses[0]}\nlast step:  {losses[-1]}")
    return losses, model


if __name__ == "__main__":
    main()
