"""What the network expects of its input pictures."""

from keras import ops

#: Mean and standard deviation of ImageNet's RGB channels, in units of 0..1 (the torchvision constants the
#: official code normalises with).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images):
    """Makes network input of pictures.

    Args:
        images: (N, h, w, 3) uint8, RGB.

    Returns:
        (N, h, w, 3) float32: (images / 255 - mean) / standard deviation, per channel.
    """
    images = ops.cast(images, "float32") / 255.0
    mean = ops.convert_to_tensor(IMAGENET_MEAN, "float32")
    std = ops.convert_to_tensor(IMAGENET_STD, "float32")
    return (images - mean) / std
