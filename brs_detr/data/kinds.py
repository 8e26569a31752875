"""Every kind of fault that a dataset can have: what it is called, what the user can do, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from brs_detr.runtime.images import PIXEL_LIMIT_VARIABLE

Severity = Literal["error", "warning", "note"]

SEVERITIES: dict[Severity, str] = {
    "error": "training is refused",
    "warning": "training goes on, and its result may suffer",
    "note": "nothing to do, good to know",
}
"""What each severity means, the worst first."""

MAX_CLASSES = 1 << 15
"""Classes of a dataset. LVIS has 1,203, V3Det 13,204, ImageNet-21K 21,841."""

MAX_BOXES = 1 << 15
"""Boxes on one image. The fullest images of crowds have 20,000 heads."""

MAX_NAME = 1000
"""Characters of a class name."""


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault, what the user can do, and how bad it is."""

    what: str
    cure: str
    severity: Severity = "error"

    @property
    def is_fatal(self) -> bool:
        """Whether training is refused because of it."""
        return self.severity == "error"


UNREADABLE_SPLIT = "annotations that cannot be read"
INDIVISIBLE = "data that cannot be divided for training"
"""Two more kinds, whose hints depend on the case."""


def error(what: str, cure: str) -> FaultKind:
    """A fault for which training is refused."""
    return FaultKind(what, cure)


def warning(what: str, cure: str) -> FaultKind:
    """A fault that is handled, and may harm the result."""
    return FaultKind(what, cure, "warning")


def note(what: str, cure: str) -> FaultKind:
    """Something good to know."""
    return FaultKind(what, cure, "note")


# ---- Annotations and images
MALFORMED = error("malformed entry", "Export the annotations again, or complete these entries.")
TOO_MANY_CLASSES = error(
    "more classes than a dataset can have",
    f"At most {MAX_CLASSES:,} are read. Leave out those that no box has, or put several of them together.",
)
CROWDED_IMAGE = error("image with more boxes than can be", f"At most {MAX_BOXES:,} are read. Cut the image into tiles.")
ODD_VALUE = warning(
    "value that a file in JSON cannot hold",
    "Not used; in a copy there is null instead. Write a number, null or a text in UTF-8.",
)
ODD_SEGMENTATION = warning(
    "outline that cannot be used",
    "Left out, as masks are not made of it; its box is used. Write polygons of 3 corners or more near the image, or "
    "run lengths that cover it.",
)
DUPLICATE_ID = error("duplicate id", "Give every image, annotation and category an id of its own.")
DUPLICATE_NAME = error("duplicate class name", "Give every category a name of its own.")
UNKNOWN_IMAGE = error("annotation of an unknown image", "Add the image to the list, or delete the annotation.")
UNKNOWN_CATEGORY = error("category id without a category", "Add the category to the list, or correct the id.")
NOT_FINITE_BOX = error("box with a NaN or infinite coordinate", "Correct or delete these boxes.")
OUTSIDE_BOX = error("box outside of the image", "Correct these boxes; [x, y, width, height] are pixels of the image.")
ZERO_AREA_BOX = warning("zero-area box", "Dropped; delete it from the file to silence this warning.")
NO_BOX = error("annotation file without any usable box", "Annotate at least one object.")
FRACTION_BOXES = error(
    "box in fractions of the image instead of pixels",
    "Write pixels: x and width times the width of the image, y and height times its height; where fractions were "
    "rounded, export again. YOLO rows are fractions: these were divided by the size twice.",
)
NEGATIVE_BOXES = error(
    "box with a negative width or height",
    "Write [x, y, width, height] from the upper left corner; add a negative width to x and take away its sign.",
)
EMPTY_BOXES = error(
    "annotation file without any usable box, since none has an area",
    "Export the annotations again: width or height of every box is 0.",
)
CROWD_BOXES = error(
    "annotation file without any usable box, since all are crowds or difficult objects",
    "Nothing is learnt of those, or measured with them. Set iscrowd (COCO) or difficult (Pascal VOC) to 0 where a box "
    "is one object.",
)
UNTRAINED_BOXES = error(
    "box narrower than 1 pixel, as nearly all are",
    "Such boxes are not trained on. Export the annotations again, in pixels of these images.",
)
OTHER_READING = error(
    "boxes that seem to be written in another way",
    "Write them as the format asks: COCO has x, y of the upper left corner, width, height in pixels, and YOLO x, y of "
    "the middle, width, height in fractions.",
)
SHIFTED_IDS = error(
    "category ids that are all off by one",
    "Correct the ids in the annotations or in the list: each means another class now.",
)
SHIFTED_IMAGE_IDS = error(
    "image ids that seem to be all off by one",
    "Correct image_id in the annotations, or the ids in the list: each box is on another image now.",
)
DUPLICATE_FILE = warning(
    "image file that is listed twice",
    "List every file once, with all of its boxes: each entry is trained on by itself.",
)
MISSING_IMAGE = error("missing image file", "Put the file there, or take the image out of the list.")
MISNAMED_IMAGE = error(
    "missing image file, though there is one of a similar name",
    "Write the name of the right file into the annotations, with the folders that lead to it.",
)
UNREADABLE_IMAGE = error("unreadable image", "Replace the file, or take the image out of the list.")
LARGE_IMAGE = error(
    "image that is too large",
    f"Cut it into smaller images, or raise the limit: set the variable {PIXEL_LIMIT_VARIABLE} to a larger number.",
)
WRONG_SIZE = error("image of another size than stated", "Use the images that were annotated, unscaled.")
SWAPPED_SIZE = error(
    "image whose stated width is its height",
    "Exchange width and height in the annotations; or rotate the image, if its boxes were drawn on the rotated one.",
)
SIDEWAYS_SIZE = error(
    "image annotated without the rotation that its EXIF data ask for",
    "Take the EXIF orientation out of the file, or annotate the image as it is shown upright.",
)

# ---- Files that a reader meets, in any format
BROKEN_LABEL_FILE = error(
    "annotation file that cannot be read", "Correct or export the file again, or take its image out of the dataset."
)
NOT_UTF8_FILE = error("annotation file that is not text in UTF-8", "Save the file as UTF-8.")
BROKEN_OBJECT = error("object that cannot be read", "Correct or delete these lines or elements.")
MISSING_LABEL_FILE = error(
    "missing annotation file", "Put the file there, or take its name out of the list of the split."
)
LABEL_WITHOUT_IMAGE = warning(
    "annotation file without an image", "Left out. Put the image there under the same name, or delete the file."
)
UNREAD_SUFFIX = warning(
    "annotated image of a kind that is not read", "Left out. Save the image as JPEG or PNG, under the same name."
)
UNANNOTATED_IMAGE = warning(
    "image without an annotation file",
    "Left out. Annotate it, or give it an annotation file without objects if it has none.",
)
OUTSIDE_OF_SPLITS = warning(
    "file in none of the splits", "Left out. Move it into train, val or test if it should be used."
)
MISSING_SPLIT = note("split that is named and not there", "Left out. Put its images there, or take its name out.")
OUTSIDE_FILE = warning(
    "file that lies outside of the data folder",
    "Check whether it is yours and meant. Training reads it where it is; convert and check --fix copy such files "
    "only with --allow-outside.",
)

# ---- Class names
ODD_NAME = error(
    "class name that cannot be written",
    f"Give the class a name of at most {MAX_NAME:,} characters, each of them whole in UTF-8.",
)
EMPTY_NAME = error("class without a name", "Give every class a name.")
SIMILAR_NAMES = warning(
    "class names that differ only in capitals, spaces, - or _",
    "Taken as different classes. Give them one name if they mean the same.",
)

# ---- COCO
MOVED_IMAGE = note(
    "image that lies in another place than stated", "Found by the end of its path; nothing needs to be done."
)
UNUSED_GROUP = note(
    "category that only groups others",
    "Not taken as a class: it is the supercategory of others and has no annotation. Nothing needs to be done.",
)
UNREAD_FILE = warning(
    "annotation file that is named after no split",
    "Left out, since others are. Name it train.json, val.json or test.json, or move it away.",
)

# ---- Pascal VOC
SWAPPED_CORNERS = warning(
    "box whose xmin is greater than its xmax, or ymin than ymax",
    "Put in order, as a box that was drawn from its lower right. Check whether it is where the object is.",
)
STATED_OUTSIDE = note(
    "<filename> or <folder> that leads out of the data folder",
    "Not followed: the image is looked for in the data folder, by its name.",
)
OTHER_XML = error("XML file of another kind", "Export it as Pascal VOC, whose root element is <annotation>.")
OTHER_ELEMENTS = error(
    "object that is not written as Pascal VOC asks",
    "Export the boxes as <object> with <name> and <bndbox>, and in it <xmin>, <ymin>, <xmax> and <ymax>.",
)
REPEATED_ELEMENT = error(
    "object with an element that occurs twice", "Give each object one name and one box: write an <object> for each."
)
UNCLEAR_LINE = error(
    "name in the list of a split that several annotation files have", "Write the path below Annotations, as a/1."
)
AMBIGUOUS_IMAGE = error(
    "annotation file that may belong to several images",
    "Say in <filename> which one is meant, with its suffix, or give every image a name of its own.",
)
SHARED_IMAGE = error(
    "image that several annotation files belong to", "Put all of its objects into one file, and delete the others."
)
MISNAMED_LABEL = error(
    "annotation file with the name of one image and the <filename> of another",
    "Find out which image the boxes were drawn on. Give the file the name of that image, and correct <filename>.",
)
COUNTS_FROM_ZERO = note(
    "box that begins below 1, so that pixels are taken as counted from 0",
    "All boxes of the dataset are kept as they are. If its tool counts from 1, as Pascal VOC does, correct these.",
)
NO_IMAGE_FOUND = error(
    "split in which no annotation file has its image",
    "Give images of a kind that is read, such as JPEG, the names of their annotation files, or put them where the "
    "folders of these are.",
)
WIDTH_FOR_CORNER = error(
    "box that may have its width and height where xmax and ymax belong",
    "Look at one. If it is right when read so, write xmax = xmin + width and ymax = ymin + height; otherwise exchange "
    "xmin and xmax, or ymin and ymax, where the first is greater.",
)

# ---- YOLO
WRONG_COUNT = warning("number of classes that does not fit the names", "Correct nc; the names count.")
UNUSED_LIST = warning(
    "list of a split that data.yaml passes over",
    "Left out. Delete the list, or name it in data.yaml (train: train.txt) instead of the images there.",
)
NUMBERED_NAMES = warning(
    "class names that are nowhere to be found",
    "Called class_0, class_1 and so on. Write the names into classes.txt, one a line, or into data.yaml.",
)
PIXEL_ROW = error(
    "row in pixels instead of fractions",
    "YOLO has fractions of the image. Divide pixels by its width (x) and height (y), or percent by 100.",
)
LARGE_CLASS = error(
    "class number that is too large",
    f"Correct it: classes are numbered from 0 to {MAX_CLASSES - 1:,}. Names are made up for those that have none.",
)
UNCLEAR_ROW = error(
    "row that may be a polygon, or a box with key points (landmarks)",
    "Say which in data.yaml: kpt_shape: [5, 2] for a box and 5 points of 2 numbers, kpt_shape: [0, 2] for polygons.",
)
TRACKED_ROW = error(
    "row with a confidence and the number of a track behind its box or polygon",
    "Take the last two numbers out. If they are the last corner of a polygon, say kpt_shape: [0, 2] in data.yaml.",
)
POLYGON_ROW = note(
    "row that is read as a polygon",
    "Its bounding box is taken. If it is a box with key points, say so with kpt_shape in data.yaml.",
)
SHARED_LABEL = error(
    "label file of several images", "Call it by the full name of its image, as in a.jpg.txt, or rename the images."
)
RIVAL_LABELS = error("image with several label files that differ", "Keep the right one of them.")
MISPLACED_LABEL = error(
    "label file where no image looks for it", "Move or rename label files or images, so that they fit."
)
UNKNOWN_CLASS = error("class number without a name", "Add the name to the list of names, or correct the number.")

# ---- Images, decoded and compared
DAMAGED_IMAGE = error(
    "image with damaged data", "Replace the file, or take the image out of the list: training stops at it."
)
TURNED_IMAGE = note(
    "image with an EXIF rotation", "Loaded upright; check whether its boxes were drawn on the upright image."
)
PAGED_IMAGE = note("image file with several pages or frames", "The first is used; save others that you need as files.")
EMPTY_IMAGE = note("image without any object", "Kept, and trained on as background. Check whether it was forgotten.")
UNLISTED_IMAGE = note(
    "image in the folder that no annotation file lists", "Left out. List it, without a box if it has no object."
)
DARK_IMAGE = warning(
    "dark image of 16 bits",
    "Of 16 bits the upper 8 are used. If the values lie in the lower bits alone, stretch them to 0 ... 65535, or save "
    "8 bits.",
)
PLAIN_IMAGES = warning(
    "images that are of one colour, as all of this split are",
    "The model cannot learn from them. Export the images again; of 16 bits a channel the upper 8 are used.",
)
REPEATED_IMAGE = warning("image that is there twice in one split", "Keep one of the two, with all of its boxes.")
LEAKED_IMAGE = warning(
    "image that is in two splits",
    "Keep it in one of them: what was trained on cannot measure how well a model does on new images.",
)
SAME_SPLITS = warning(
    "split whose images are all in another one",
    "Divide the images, or leave one of the two splits out: for training 20 % of the others are held out.",
)
SIMILAR_IMAGE = warning(
    "image that is nearly the same in two splits",
    "Keep copies, crops and neighbouring frames of one scene in one split, or the measured AP will be too high.",
)

# ---- Boxes, classes and splits
REPEATED_BOX = warning("box drawn twice", "Delete one of the two: the model is punished for finding it once.")
CONFLICTING_BOX = warning("one box with two classes", "Keep the class that is right.")
TINY_BOX = warning("tiny box", "Hard to find. Train on larger images (--size), or cut the images into tiles.")
NARROW_BOX = warning(
    "box narrower than 1 pixel", "Not trained on, but counted as missed. Correct or delete these boxes."
)
OVERHANGING_BOX = note("box that sticks out of the image by a pixel or less", "Clipped to the image.")
WHOLE_IMAGE_BOX = note("box over the whole image", "Check whether it is a label of the whole image instead.")
WHOLE_IMAGE_BOXES = warning(
    "box over the whole image, as nearly all are",
    "The model will learn to frame images. Draw boxes around the objects, unless each image is one.",
)
CORNER_BOXES = warning(
    "boxes that all lie in the upper left part of the images",
    "Look at the drawn samples: they may be in percent, or drawn on smaller copies of the images.",
)
PERCENT_BOXES = warning(
    "boxes that fill a square of 100 in larger images",
    "They seem to be in percent of the image, and are read as pixels. Look at the drawn samples; if they are, write "
    "pixels: x and width times the width of the image, y and height times its height, divided by 100.",
)
ODD_CLASS = error(
    "classes that not every split names", "List the same categories in the annotation file of every split."
)
UNUSED_CLASS = warning("class without any box", "The model cannot learn it. Annotate it, or take it out of the list.")
RARE_CLASS = warning("rare class", "Annotate more of it: so few boxes are memorized.")
UNTRAINED_CLASS = warning(
    "class that is measured and not trained", "Its AP will be 0. Annotate it in the training images."
)
UNMEASURED_CLASS = warning("class that is trained and not measured", "It will have no AP. Move images of it into val.")
NO_TRAINING_SPLIT = error("no split to train with", "Add one; docs/data.md shows how a dataset folder is laid out.")
HELD_OUT = note(
    "no split to measure with",
    "20 % of the images are held out. Divide the data yourself where images belong together.",
)
TEST_FOR_VAL = warning(
    "no split to measure with while training",
    "test stands in for it, so that the best epoch is chosen by the images that judge it. Add a val split.",
)
