"""DCNv2 in the last three stages of a ResNet."""

deformable = dict(
    dcn=dict(type="DCNv2", deform_groups=4, fallback_on_stride=False), stage_with_dcn=(False, True, True, True)
)
