"""Plays the boot program of Beam's worker containers, which is a Go binary and not in apache-beam's wheel.

Beam's container contract: whoever starts a worker names it and its endpoints. The boot program asks the
provision endpoint for the job's options and staged files, fetches the files from the artifact endpoint, has
pip install the archive among them, and becomes the SDK's worker. Here pip is kept from the network, so what
the archive requires has to be there already, down to what builds it.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import grpc
from apache_beam.portability.api import (
    beam_artifact_api_pb2,
    beam_artifact_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from google.protobuf import json_format, text_format

ENDPOINTS = ("logging", "artifact", "provision", "control")


def fetch(folder, endpoint, artifacts, worker):
    """Writes a job's staged files to a folder under the names they are to have on a worker."""
    service = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(grpc.insecure_channel(endpoint))
    request = beam_artifact_api_pb2.ResolveArtifactsRequest(artifacts=artifacts)
    for artifact in service.ResolveArtifacts(request, metadata=worker).replacements:
        role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload)
        blocks = service.GetArtifact(
            beam_artifact_api_pb2.GetArtifactRequest(artifact=artifact), metadata=worker
        )
        (folder / role.staged_name).write_bytes(b"".join(block.data for block in blocks))


def main():
    """Boots a worker of this interpreter's environment."""
    parser = argparse.ArgumentParser()
    for name in ("id", "semi_persist_dir", *(f"{endpoint}_endpoint" for endpoint in ENDPOINTS)):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    worker = [("worker_id", given.id)]
    provision = beam_provision_api_pb2_grpc.ProvisionServiceStub(
        grpc.insecure_channel(given.provision_endpoint)
    )
    info = provision.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest(), metadata=worker).info
    staged = Path(given.semi_persist_dir, "staged")
    staged.mkdir()
    fetch(staged, given.artifact_endpoint, info.dependencies, worker)
    if (staged / "workflow.tar.gz").exists():
        install = ["install", "--no-index", "--no-build-isolation", str(staged / "workflow.tar.gz")]
        subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    os.environ |= {
        "WORKER_ID": given.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "SEMI_PERSISTENT_DIRECTORY": given.semi_persist_dir,
    }
    for name in ("logging", "control"):
        descriptor = endpoints_pb2.ApiServiceDescriptor(url=getattr(given, f"{name}_endpoint"))
        os.environ[f"{name.upper()}_API_SERVICE_DESCRIPTOR"] = text_format.MessageToString(descriptor)
    os.execv(sys.executable, [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"])


if __name__ == "__main__":
    main()
