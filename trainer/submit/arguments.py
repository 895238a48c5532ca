"""The flags that several `tpu-images submit` commands share, and what they are turned into."""

import argparse
import os

from trainer.commands.arguments import CommandParser, settings_help
from trainer.errors import UserError
from trainer.submit import catalogue, hardware, training_job, vertex_service
from trainer.submit.vertex_request import JobOptions, parse_labels


def parser(command: str, description: str) -> CommandParser:
    """Returns a parser with what every submission takes."""
    made = CommandParser(command, description, epilog=settings_help())
    made.add_argument("--preset", default="", help="ready configuration (tpu-images presets)")
    made.add_argument("--project", default=os.environ.get("GOOGLE_CLOUD_PROJECT", ""), help="Google Cloud project")
    made.add_argument("--image", default="", help="container image with tpu-images; by default the package is sent")
    made.add_argument("--service_account", default="", help="who the job runs as; by default the service's own account")
    made.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="label; may be repeated")
    made.add_argument("--name", default="", help="display name of the job")
    made.add_argument("--spot", action="store_true", help="spare capacity: cheaper, and may be taken away")
    made.add_argument(
        "--tables", default="", help="directory with corrected copies of our tables (trainer/submit/tables)"
    )
    made.add_argument("--dry_run", action="store_true", help="show the request and what it may cost; send nothing")
    made.add_argument("--no_preflight", action="store_true", help="a dry run does not ask the TPU compiler (minutes)")
    made.add_argument("--num_classes", type=int, default=1000, help="of the data, for preflight (%(default)s)")
    made.add_argument("--num_train_examples", type=int, default=0, help="of the data, for preflight's hours")
    made.add_argument("--format", default="yaml", choices=("yaml", "json"), help="form of a dry run")
    return made


def add_vertex_flags(made: CommandParser) -> None:
    """Adds what Vertex AI jobs take beside that."""
    made.add_argument("--data", required=True, help="dataset directory, gs://...")
    made.add_argument("--model_dir", required=True, help="where the model goes, gs://...")
    made.add_argument("--region", default="us-central1", help="region of Vertex AI")
    made.add_argument("--tpu_type", default="", metavar="GENERATION:TOPOLOGY", help="TPU slice, such as v5e:2x4")
    made.add_argument("--machine_type", default="", help="machine of a GPU or CPU job, such as g2-standard-8")
    made.add_argument("--gpu", default="", metavar="TYPE:COUNT", help="GPUs where the machine leaves a choice")
    made.add_argument("--max_hours", type=float, default=24.0, help="longest running time, and so the largest bill")
    made.add_argument("--network", default="", help="VPC network to peer with: projects/NUMBER/global/networks/NAME")
    made.add_argument("--tensorboard", default="", help="Vertex AI TensorBoard: projects/.../tensorboards/ID")
    made.add_argument("--wait", action="store_true", help="follow the job's state and logs to its end")


def vertex_hardware(arguments: argparse.Namespace) -> hardware.Hardware:
    """Returns the Vertex AI machine that the flags name."""
    tables = catalogue.load(arguments.tables)
    if arguments.tpu_type:
        if arguments.gpu:
            raise UserError("a TPU machine has no GPUs", where=f"--gpu={arguments.gpu}", remedy="leave one out")
        return hardware.vertex_tpu(
            tables,
            arguments.tpu_type,
            region=arguments.region,
            machine_type=arguments.machine_type,
            is_spot=arguments.spot,
        )
    if not arguments.machine_type:
        remedy = "give --tpu_type=v5e:2x4, or --machine_type=g2-standard-8 and the like"
        raise UserError("says nothing of the machine to train on", where="submit vertex", remedy=remedy)
    return hardware.vertex_machine(tables, arguments.machine_type, region=arguments.region, gpu=arguments.gpu)


def job_options(arguments: argparse.Namespace) -> JobOptions:
    """Returns how the flags want the job to be run."""
    return JobOptions(
        display_name=arguments.name or f"tpu-images-{arguments.preset or 'train'}",
        output_dir=arguments.model_dir,
        max_hours=arguments.max_hours,
        is_spot=arguments.spot,
        service_account=arguments.service_account,
        network=arguments.network,
        tensorboard=arguments.tensorboard,
        labels={**parse_labels(arguments.label), **vertex_service.new_submission_label()},
    )


def check_project(project: str) -> None:
    """Refuses a request without a project to pay for it."""
    if not project:
        raise UserError("is needed", where="--project", remedy="give it, or set GOOGLE_CLOUD_PROJECT")


def check_project_and_paths(arguments: argparse.Namespace) -> None:
    """Refuses a submission without a project to pay for it, or with files that the cloud cannot reach."""
    check_project(arguments.project)
    training_job.check_cloud_path(arguments.data, "--data=")
    training_job.check_cloud_path(arguments.model_dir, "--model_dir=")
