"""Images per second of `tpu-images convert`, beside the classic script's way, in the same run.

    python benchmarks/convert_throughput.py                          # copy: header scan, no decoding
    python benchmarks/convert_throughput.py --resize_short_side=256  # decode, shrink, encode

Ours is the whole command on the DirectRunner: starting Python, loading Beam, converting, publishing. The classic way is
that of `jpeg_to_tf_record.py`, written anew here: a session, a placeholder and a decoding op for each image, only to
learn its height and width. Its time leaves out starting Python and loading TensorFlow, which favours it.
"""

import argparse
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

NUM_CLASSES = 10
NUM_PICTURES = 100


def main() -> None:
    """Makes the images, times both ways, prints the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_images", type=int, default=20_000)
    parser.add_argument("--num_classic_images", type=int, default=500)
    parser.add_argument(
        "--folder", help="where to put some gigabytes for the time of the run (default: the temporary folder)"
    )
    parser.add_argument("--classic", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments, convert_flags = parser.parse_known_args()
    if arguments.classic:
        print(json.dumps(time_classic(sorted(arguments.classic.glob("*/*.jpg"))[: arguments.num_classic_images])))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        images = pathlib.Path(scratch, "images")
        mean_bytes = write_images(images, arguments.num_images)
        print(
            f"{arguments.num_images:,} JPEGs of {mean_bytes / 1e3:.0f} KB on average, flags: {convert_flags or 'none'}"
        )
        classic_rate = run_classic(images, arguments.num_classic_images)
        print(f"classic script's way, loop only:        {classic_rate:8,.0f} images/s")
        rate = run_ours(images, pathlib.Path(scratch, "dataset"), arguments.num_images, convert_flags)
        print(
            f"tpu-images convert, the whole command:  {rate:8,.0f} images/s   ({rate / classic_rate:.1f} times as fast)"
        )


def write_images(folder: pathlib.Path, num_images: int) -> float:
    """Writes photograph-like JPEGs, no two alike, in one folder per class; returns their mean size in bytes."""
    pictures = [make_picture(seed) for seed in range(NUM_PICTURES)]
    num_bytes = 0
    for number in range(num_images):
        class_folder = folder / f"class_{number % NUM_CLASSES}"
        class_folder.mkdir(parents=True, exist_ok=True)
        # Bytes 14 to 17 of a JFIF file are its pixel density: another value is another file with the same picture.
        picture = pictures[number % NUM_PICTURES]
        data = picture[:14] + (number + 1).to_bytes(4, "big") + picture[18:]
        (class_folder / f"{number:06d}.jpg").write_bytes(data)
        num_bytes += len(data)
    return num_bytes / num_images


def make_picture(seed: int) -> bytes:
    """Returns a 500x400 JPEG of about 110 KB: smooth shapes with grain."""
    random = np.random.default_rng(seed)
    shapes = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(shapes.resize((500, 400), Image.Resampling.BICUBIC), np.float32)
    grainy = smooth + random.normal(0, 22, smooth.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def run_ours(images: pathlib.Path, dataset: pathlib.Path, num_images: int, flags: list[str]) -> float:
    """Returns the images per second of the whole command."""
    command = [sys.executable, "-m", "preprocessing.task", str(images), str(dataset), *flags]
    started_secs = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return num_images / (time.perf_counter() - started_secs)


def run_classic(images: pathlib.Path, num_images: int) -> float:
    """Returns the images per second of the classic way, measured in a process of its own."""
    command = [sys.executable, __file__, f"--classic={images}", f"--num_classic_images={num_images}"]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(finished.stdout.splitlines()[-1])


def time_classic(paths: list[pathlib.Path]) -> float:
    """Returns the images per second of decoding each image in a session of its own and writing it as an Example."""
    import tensorflow as tf  # noqa: PLC0415 - only this process needs it

    tf.compat.v1.disable_eager_execution()
    with tempfile.TemporaryDirectory() as folder:
        started_secs = time.perf_counter()
        with tf.io.TFRecordWriter(f"{folder}/shard.tfrecord") as writer:
            for path in paths:
                data = path.read_bytes()
                with tf.compat.v1.Session() as session:
                    encoded = tf.compat.v1.placeholder(tf.string)
                    decoded = tf.io.decode_jpeg(encoded, channels=3)
                    height, width, _ = session.run(decoded, {encoded: data}).shape
                writer.write(classic_example(tf, path, data, height, width).SerializeToString())
        return len(paths) / (time.perf_counter() - started_secs)


def classic_example(tf, path: pathlib.Path, data: bytes, height: int, width: int):
    """Returns the `tf.train.Example` of one image."""
    values = {
        "image/encoded": data,
        "image/filename": path.name.encode(),
        "image/height": height,
        "image/width": width,
        "image/class/label": int(path.parent.name.rpartition("_")[2]),
    }
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, bytes)
        else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        for key, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


if __name__ == "__main__":
    main()
