"""Train torchvision's RetinaNet with Rank & Sort Loss instead of focal loss."""

import torch
from torchvision.models.detection import anchor_utils, retinanet
from torchvision.ops import box_iou, generalized_box_iou_loss

from brs_detr.losses import rank_sort_loss, ranking_targets, self_balancing_weight


class RankSortHead(retinanet.RetinaNetHead):
    """Ranks the anchors of all images together; the target of a positive is the IoU of its decoded box."""

    def compute_loss(self, targets, head_outputs, anchors, matched_idxs):
        """Return the losses of a batch; an anchor is matched to an object, to none (-1), or to be ignored (-2)."""
        logits, deltas = (head_outputs[name].flatten(0, 1) for name in ("cls_logits", "bbox_regression"))
        inds = torch.cat(matched_idxs)  # [N], N anchors in the batch
        is_positive = inds >= 0  # P of them
        classes = torch.cat([target["labels"][i[i >= 0]] for target, i in zip(targets, matched_idxs, strict=True)])
        objects_xyxy = torch.cat([target["boxes"][i[i >= 0]] for target, i in zip(targets, matched_idxs, strict=True)])
        boxes_xyxy = self.regression_head.box_coder.decode_single(deltas[is_positive], torch.cat(anchors)[is_positive])
        labels = torch.full_like(inds, logits.shape[1]).masked_scatter(is_positive, classes)  # background elsewhere
        quality = logits.new_zeros(len(inds)).masked_scatter(is_positive, box_iou(boxes_xyxy, objects_xyxy).diagonal())
        class_targets = ranking_targets(labels, quality, logits.shape[1], weights=inds != -2)  # [N, num_classes]
        loss = rank_sort_loss(logits.flatten(), class_targets.flatten())
        loss_iou = generalized_box_iou_loss(boxes_xyxy, objects_xyxy, reduction="mean")
        weight = self_balancing_weight(loss.rank + loss.sort, loss_iou)
        return {"loss_rank": loss.rank, "loss_sort": loss.sort, "loss_iou": weight * loss_iou}


def make_images(num_images):
    """Return dark images [3, 96, 96] with a red or blue box on each, and their targets."""
    images, targets = 0.1 * torch.rand(num_images, 3, 96, 96), []
    for image in images:
        (x, y), (w, h), label = torch.randint(48, (2,)), torch.randint(24, 49, (2,)), torch.randint(2, (1,))
        image[2 * label, y : y + h, x : x + w] += 0.8
        targets.append({"boxes": torch.tensor([[x, y, x + w, y + h]]).float(), "labels": label})
    return list(images), targets


def main(steps=100):
    """Train on four new images per step; return the losses of each step and the model."""
    torch.manual_seed(0)
    backbone, anchors = torch.nn.Conv2d(3, 64, 8, stride=8), anchor_utils.AnchorGenerator(((28, 40),), ((1.0,),))
    head = RankSortHead(in_channels=64, num_anchors=2, num_classes=2)
    torch.nn.init.zeros_(head.classification_head.cls_logits.bias)  # only order is learnt: start at 0.5, not 0.01
    model = retinanet.RetinaNet(backbone, 2, min_size=96, max_size=96, head=head, anchor_generator=anchors)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(steps):
        loss = model(*make_images(4))
        optimizer.zero_grad()
        sum(loss.values()).backward()
        optimizer.step()
        losses.append({name: round(value.item(), 3) for name, value in loss.items()})
    print(f"first step: {losses[0]}\nlast step:  {losses[-1]}")
    return losses, model


if __name__ == "__main__":
    main()
