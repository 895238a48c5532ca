"""The exported model: raw image bytes in, classes and probabilities out, with the preprocessing of evaluation."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.data import decode
from trainer.errors import UserError
from trainer.export.trained_classifier import TrainedClassifier

SIGNATURE = "serving_default"
INPUT_NAME = "image_bytes"


class ServingModule(tf.Module):
    """A classifier of encoded images, to be saved with `tf.saved_model.save`."""

    def __init__(self, classifier: TrainedClassifier):
        super().__init__(name="image_classifier")
        self._classifier = classifier
        self._variables = list(classifier.variables)
        self._class_names = tf.constant(classifier.class_names)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=INPUT_NAME)])
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies images of any size: JPEG, PNG, GIF (first frame), BMP or WebP.

        Args:
          image_bytes: string `[batch]`, one file each. A file that cannot be decoded fails the whole request.

        Returns:
          `classes` string `[batch]`, `class_index` int32 `[batch]`, `probabilities` float32 `[batch, num_classes]`.
        """
        predictions = self._classifier.predict_fn(self.preprocess(image_bytes))
        return {
            "classes": tf.gather(self._class_names, predictions["class_index"]),
            "class_index": predictions["class_index"],
            "probabilities": predictions["probabilities"],
        }

    def preprocess(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """Returns what the network sees: uint8 `[batch, image_size, image_size, 3]`."""
        settings = self._classifier.input
        return tf.map_fn(
            lambda encoded: decode.evaluation_image(encoded, settings.image_size, settings.eval_crop_fraction),
            image_bytes,
            fn_output_signature=tf.TensorSpec([settings.image_size, settings.image_size, 3], tf.uint8),
        )


class ExportedClassifier:
    """An export, loaded: called with encoded images, it returns arrays named as in `ServingModule.serve`.

    Raises UserError when the export is damaged, or is none of ours.
    """

    def __init__(self, export_dir: str):
        try:
            self._module = tf.saved_model.load(export_dir)  # kept, since its variables are freed with it
            self._signature = self._module.signatures[SIGNATURE]
        except (OSError, LookupError, ValueError, tf.errors.OpError) as error:
            remedy = "make it anew: tpu-images export --model_dir=..."
            raise UserError(f"cannot be loaded ({error})", where=export_dir, remedy=remedy) from error

    def __call__(self, encoded_images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Classifies a batch; raises `tf.errors.InvalidArgumentError` when a file is not an image."""
        outputs = self._signature(**{INPUT_NAME: tf.constant(list(encoded_images), tf.string)})
        return {name: value.numpy() for name, value in outputs.items()}
