"""Images per second of `tpu-images convert`, beside the classic script's way, in the same run.

    python benchmarks/convert_throughput.py                          # copy: header scan, no decoding
    python benchmarks/convert_throughput.py --resize_short_side=256  # decode, shrink, encode

Ours is the whole command on the DirectRunner: starting Python, loading Beam, converting, publishing. The classic way is
that of `jpeg_to_tf_record.py`, written anew here: a session, a placeholder and a decoding op for each image, only to
learn its height and width. Its time leaves out starting Python and loading TensorFlow, which favours it. With
--resize_short_side the classic loop also shrinks each picture and encodes it anew. The third line is what the machine
itself can do: two processes that read every file and write the same bytes into one file each.
"""

import argparse
import io
import json
import multiprocessing
import os
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
    parser.add_argument("--resize_short_side", type=int, default=0)
    arguments, convert_flags = parser.parse_known_args()
    short_side = arguments.resize_short_side
    if arguments.classic:
        paths = sorted(arguments.classic.glob("*/*.jpg"))[: arguments.num_classic_images]
        print(json.dumps(time_classic(paths, short_side)))
        return
    if short_side:
        convert_flags.append(f"--resize_short_side={short_side}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        images = pathlib.Path(scratch, "images")
        mean_bytes = write_images(images, arguments.num_images)
        print(
            f"{arguments.num_images:,} JPEGs of {mean_bytes / 1e3:.0f} KB on average, flags: {convert_flags or 'none'}"
        )
        classic_rate = run_classic(images, arguments.num_classic_images, short_side)
        print(f"classic script's way, loop only:       {classic_rate:8,.0f} images/s")
        rate = run_ours(images, pathlib.Path(scratch, "dataset"), arguments.num_images, convert_flags)
        print(
            f"tpu-images convert, the whole command: {rate:8,.0f} images/s   ({rate / classic_rate:.1f} times as fast)"
        )
        floor_rate = run_floor(images, pathlib.Path(scratch))
        print(f"read and write the same bytes, no more: {floor_rate:7,.0f} images/s")


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
    os.sync()  # that the images were just written is not to slow down what reads them
    started_secs = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return num_images / (time.perf_counter() - started_secs)


def run_floor(images: pathlib.Path, folder: pathlib.Path) -> float:
    """Returns the images per second of two processes that read all files and write them into one file each."""
    paths = sorted(images.glob("*/*.jpg"))
    copies = [
        multiprocessing.Process(target=append_all, args=(paths[part::2], folder / f"part{part}")) for part in (0, 1)
    ]
    os.sync()
    started_secs = time.perf_counter()
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join()
    return len(paths) / (time.perf_counter() - started_secs)


def append_all(paths: list[pathlib.Path], target: pathlib.Path) -> None:
    """Writes the files one after the other into one file."""
    with open(target, "wb", buffering=0) as file:
        for path in paths:
            file.write(path.read_bytes())


def run_classic(images: pathlib.Path, num_images: int, short_side: int) -> float:
    """Returns the images per second of the classic way, measured in a process of its own."""
    command = [sys.executable, __file__, f"--classic={images}", f"--num_classic_images={num_images}"]
    command.append(f"--resize_short_side={short_side}")
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(finished.stdout.splitlines()[-1])


def time_classic(paths: list[pathlib.Path], short_side: int) -> float:
    """Returns the images per second of decoding each image in a session of its own and writing it as an Example.

    With a `short_side` in pixels, the session also shrinks the image to it and encodes it.
    """
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
                    if short_side:
                        scale = short_side / min(height, width)
                        height, width = round(height * scale), round(width * scale)
                        shrunk = tf.compat.v1.image.resize_area(decoded[None], (height, width))
                        anew = tf.io.encode_jpeg(tf.cast(tf.round(shrunk[0]), tf.uint8), quality=90)
                        data = session.run(anew, {encoded: data})
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
