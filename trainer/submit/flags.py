"""The flags of `tpu-images submit` and `tpu-images deploy`. Answers `--help` without any client library."""

import os

from preprocessing.command_line import CommandParser, folder_to_write
from trainer.commands.arguments import settings_help

TUNING_ALGORITHMS = ("bayesian", "random", "grid")


def vertex_parser() -> CommandParser:
    """Returns the parser of `submit vertex`."""
    parser = _job_parser("submit vertex", "Train on Vertex AI: TPU slices, GPUs or CPUs, paid by the second.")
    _add_vertex_flags(parser)
    return parser


def tune_parser() -> CommandParser:
    """Returns the parser of `submit vertex-tune`."""
    parser = _job_parser("submit vertex-tune", "Let Vertex AI vary settings over many trials, towards a metric.")
    _add_vertex_flags(parser)
    add = parser.add_argument
    add(
        "--tune",
        action="append",
        default=[],
        metavar="SETTING=VALUES",
        help="setting to vary: 0.01..1, 0.01..1:log, or values separated by commas; may be repeated",
    )
    add("--metric", default="top_1_accuracy", help="evaluation metric to improve (%(default)s)")
    add("--goal", default="maximize", choices=("maximize", "minimize"), help="(%(default)s)")
    add("--algorithm", default=TUNING_ALGORITHMS[0], choices=TUNING_ALGORITHMS, help="(%(default)s)")
    add("--max_trials", type=int, default=20, help="trials in all (%(default)s)")
    add("--parallel_trials", type=int, default=2, help="trials at once (%(default)s)")
    return parser


def tpu_vm_parser() -> CommandParser:
    """Returns the parser of `submit tpu-vm`."""
    parser = _job_parser("submit tpu-vm", "Train on a Cloud TPU virtual machine: queued, spot or on demand.")
    add = parser.add_argument
    add("--tpu_type", required=True, metavar="GENERATION:TOPOLOGY", help="TPU slice, such as v5e:2x4")
    add("--zone", required=True, help="zone that has it, such as us-west4-a")
    add("--vpc_network", default="", help="VPC network, if not the default one")
    add("--max_hours", type=float, default=24.0, help="longest training time on one machine (%(default)s)")
    return parser


def local_parser() -> CommandParser:
    """Returns the parser of `submit local`."""
    description = "Pack, install in a clean virtual environment, and train on this machine as Vertex AI would."
    parser = CommandParser("tpu-images submit local", description, epilog=settings_help())
    add = parser.add_argument
    add("--data", required=True, help="dataset directory")
    add("--preset", default="", help="ready configuration (tpu-images presets)")
    add("--base_dir", type=folder_to_write, help="where checkpoints, logs and model go; by default a new directory")
    add("--share_libraries", action="store_true", help="install our package alone, beside the libraries at hand")
    add("--dry_run", action="store_true", help="show variables and command; run nothing")
    return parser


def deploy_parser() -> CommandParser:
    """Returns the parser of `deploy vertex`."""
    parser = CommandParser(
        "tpu-images deploy vertex", "Put an exported model into the Model Registry and on an endpoint."
    )
    add = parser.add_argument
    add("--export_dir", required=True, help="version of an export, gs://.../export/VERSION")
    add("--region", default="us-central1", help="region of Vertex AI (%(default)s)")
    add("--endpoint", default="", help="existing endpoint to deploy on; by default a new one")
    add("--serving_image", default="", help="TensorFlow Serving image in Artifact Registry; by default Vertex AI's own")
    add("--machine_type", default="n1-standard-4", help="machine that serves (%(default)s)")
    add("--gpu", default="", metavar="TYPE:COUNT", help="GPUs where the machine leaves a choice")
    add("--min_replicas", type=int, default=1, help="machines that always run (%(default)s)")
    add("--max_replicas", type=int, default=1, help="machines at most (%(default)s)")
    _add_cloud_flags(parser, default_name="tpu-images")
    return parser


def _job_parser(command: str, description: str) -> CommandParser:
    parser = CommandParser(f"tpu-images {command}", description, epilog=settings_help())
    add = parser.add_argument
    add("--data", required=True, help="dataset directory, gs://...")
    add("--model_dir", required=True, help="where the model goes, gs://...")
    add("--preset", default="", help="ready configuration (tpu-images presets)")
    add("--image", default="", help="container image with tpu-images; by default the package is sent")
    add("--spot", action="store_true", help="spare capacity: cheaper, and may be taken away")
    _add_cloud_flags(parser, default_name="")
    add("--no_preflight", action="store_true", help="a dry run does not ask the TPU compiler, which takes minutes")
    add("--num_classes", type=int, default=1000, help="of the data, for preflight (%(default)s)")
    add("--num_train_examples", type=int, default=0, help="of the data, for preflight's hours")
    return parser


def _add_cloud_flags(parser: CommandParser, *, default_name: str) -> None:
    add = parser.add_argument
    add("--project", default=os.environ.get("GOOGLE_CLOUD_PROJECT", ""), help="Google Cloud project")
    add("--name", default=default_name, help="name of what is made")
    add("--service_account", default="", help="who it runs as; by default the service's own account")
    add("--label", action="append", default=[], metavar="KEY=VALUE", help="label; may be repeated")
    add("--tables", default="", help="directory with corrected copies of our tables (trainer/submit/tables)")
    add("--dry_run", action="store_true", help="show the requests and what they may cost; send nothing")
    add("--format", default="yaml", choices=("yaml", "json"), help="form of a dry run (%(default)s)")


def _add_vertex_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--region", default="us-central1", help="region of Vertex AI (%(default)s)")
    add("--tpu_type", default="", metavar="GENERATION:TOPOLOGY", help="TPU slice, such as v5e:2x4")
    add("--machine_type", default="", help="machine of a GPU or CPU job, such as g2-standard-8")
    add("--gpu", default="", metavar="TYPE:COUNT", help="GPUs where the machine leaves a choice")
    add("--max_hours", type=float, default=24.0, help="longest running time, so the largest bill (%(default)s)")
    add("--vpc_network", default="", help="VPC network to peer with: projects/NUMBER/global/networks/NAME")
    add("--tensorboard", default="", help="Vertex AI TensorBoard: projects/.../tensorboards/ID")
    add("--wait", action="store_true", help="follow the job's state and logs to its end")
